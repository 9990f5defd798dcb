;;; supervisor.el --- threads that fail, and one that starts new ones  -*- lexical-binding: t -*-

(define-error 'too-many-failures "Too many threads have failed")

(defvar started nil "All threads that a supervisor has started, the last first.")

(defun start (body)
  "Starts a thread that ends with this one, and the other way round. Returns its monitor."
  (let ((thread (make-thread body)))
    (push thread started)
    (thread-link thread)
    (thread-monitor thread)))

(defun next-end (monitors)
  "The next end among MONITORS, as (END . MONITOR)."
  (let (end)
    (while (not end)
      ;; A link tells of failures too, and would end this thread. The monitor has it still.
      (setq end (condition-case nil (alts monitors) (thread-link-broken nil))))
    end))

(defun supervise (count body most)
  "Keeps COUNT threads at BODY, starting a new one for each that fails, until all have ended well. Returns the failures, the
last first; signals `too-many-failures' if they are more than MOST."
  (let (monitors failures)
    (dotimes (_ count) (push (start body) monitors))
    (while monitors
      (let ((told (next-end monitors)))
        (setq monitors (remq (cdr told) monitors))
        (when (cdr (car told))
          (push (cdr (car told)) failures)
          (if (> (length failures) most) (signal 'too-many-failures failures))
          (push (start body) monitors))))
    failures))

(defun times (count element)
  (append (make-vector count element) nil))

(defun supervisor (&rest args)
  (make-thread (lambda () (apply #'supervise args)) "supervisor"))

(defun all-ended-p (threads)
  "Waits for the end of THREADS."
  (dolist (thread threads t)
    (chan-take (thread-monitor thread))
    (if (thread-live-p thread) (error "It lives: %S" thread))))

;; One for one: a job that kills its worker costs this job and this worker.
(let ((jobs (make-chan 'unbounded)) (results (make-chan 'unbounded)))
  (dotimes (n 100)
    (chan-put jobs (if (= (% n 13) 0) 0 n)))
  (chan-close jobs)
  (let ((failures (thread-join (supervisor 3 (lambda () (loop-chan jobs n
                                                          (chan-put results (list n (/ 5040 n)))))
                                           8))))
    (chan-close results)
    (princ (format "failures: %S\n" failures))
    (unless (equal failures (times 8 '(arith-error)))
      (error "Other failures"))
    (let ((sum 0) (count 0))
      (loop-chan results result
        (unless (= (nth 1 result) (/ 5040 (car result))) (error "Wrong: %S" result))
        (setq sum (+ sum (car result)) count (1+ count)))
      (princ (format "%d results\n" count))
      (unless (and (= count 92) (= sum (- 4950 (* 13 28))))
        (error "Jobs got lost: %d, %d" count sum)))
    (unless (and (= (length started) 11) (all-ended-p started))
      (error "%d threads" (length started)))))

;; Too many failures: the supervisor fails too, and all that it has started end by their links.
(setq started nil)
(let* ((jobs (make-chan)) (never (make-chan 0 :name "never"))
       (boss (supervisor 4 (lambda () (if (eq (chan-take jobs) 'wait) (chan-take never) (error "Bad job"))) 2))
       (monitor (thread-monitor boss)))
  (dolist (job '(wait bad wait bad wait bad))
    (chan-put jobs job))
  (let ((end (cdr (chan-take monitor))))
    (princ (format "%S\n" end))
    (unless (equal end (cons 'too-many-failures (times 3 '(error "Bad job"))))
      (error "Another end"))
    (unless (and (= (length started) 6) (all-ended-p started))
      (error "%d threads" (length started)))
    (let ((waited (seq-filter (lambda (thread)
                                (equal (chan-take (thread-monitor thread))
                                       (list thread 'thread-link-broken boss end)))
                              started)))
      (princ (format "%d ended by their links\n" (length waited)))
      (unless (= (length waited) 3) (error "%d of 3" (length waited))))))

;; One for all: three threads that need each other are linked, and started anew together.
(defvar attempt 0)

(defun run-group ()
  "Three threads, each of which hands on what it gets. Returns what came through, or the error of the first that failed."
  (let* ((a (make-chan)) (b (make-chan)) (c (make-chan)) (out (make-chan 'unbounded)) (this attempt)
         (pass (lambda (from to fail)
                 (make-thread (lambda ()
                                (loop-chan from n
                                  (if (and fail (= n fail)) (signal 'range-error (list this)))
                                  (chan-put to n))
                                (chan-close to)))))
         (threads (list (funcall pass a b nil)
                        (funcall pass b c (if (< this 2) 3))
                        (funcall pass c out nil)))
         (monitors (mapcar #'thread-monitor threads))
         ends)
    (thread-link (nth 0 threads) (nth 1 threads))
    (thread-link (nth 1 threads) (nth 2 threads))
    (onto-chan a '(1 2 3 4 5))
    (dolist (monitor monitors)
      (push (cdr (chan-take monitor)) ends))
    ;; The feeder, who is not one of them.
    (chan-close a)
    (setq ends (nreverse ends))
    (cond ((equal ends '(nil nil nil)) (chan-to-list out))
          ((and (equal (nth 1 ends) (list 'range-error this))
                (equal (nth 0 ends) (list 'thread-link-broken (nth 1 threads) (nth 1 ends)))
                (equal (nth 2 ends) (nth 0 ends)))
           'failed)
          (t (error "They ended by %S" ends)))))

(let (result)
  (while (eq (setq result (run-group)) 'failed)
    (setq attempt (1+ attempt)))
  (princ (format "attempt %d: %S\n" attempt result))
  (unless (and (= attempt 2) (equal result '(1 2 3 4 5)))
    (error "Another result")))
