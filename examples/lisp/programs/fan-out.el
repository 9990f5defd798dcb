;;; fan-out.el --- many are asked at once  -*- lexical-binding: t -*-

(defun check (what value expected)
  (princ (format "%s: %S\n" what value))
  (unless (equal value expected)
    (error "%s should be %S" what expected)))

(defvar workers
  (mapcar (lambda (n) (make-thread #'thread-serve (format "worker %d" n))) '(0 1 2 3)))

(defun ask-all (function args)
  "Promises of FUNCTION of each of ARGS, the workers in turn."
  (let ((turn workers) promises)
    (dolist (arg args)
      (push (thread-send (car turn) function arg) promises)
      (setq turn (or (cdr turn) workers)))
    (nreverse promises)))

;; A sum in parts, which come in any order and are put together in theirs.
(defun sum-from (from)
  (let ((sum 0))
    (dotimes (i 100) (setq sum (+ sum from i)))
    sum))
(let ((parts (promise-all (ask-all #'sum-from (mapcar (lambda (n) (* 100 n)) (number-sequence 0 19))))))
  (check "the sum" (apply #'+ parts) (/ (* 2000 1999) 2))
  (check "the first parts" (list (nth 0 parts) (nth 1 parts) (nth 2 parts)) '(4950 14950 24950)))

;; Errors are answers.
(let* ((promises (ask-all (lambda (n) (/ 60 n)) '(1 2 0 3)))
       (each (mapcar (lambda (p) (condition-case err (promise-wait p) (error (car err)))) promises)))
  (check "with an error" each '(60 30 arith-error 20))
  (check "all or an error" (condition-case err (promise-all promises) (arith-error (car err))) 'arith-error))

;; The fastest wins.  Each replica needs its gate opened.
(let* ((gates (list (make-chan) (make-chan) (make-chan)))
       (replicas (mapcar (lambda (gate) (go (chan-take gate))) gates))
       (answer (make-promise "the fastest"))
       (racers (let ((n -1))
                 (mapcar (lambda (done)
                           (let ((me (setq n (1+ n))))
                             (make-thread (lambda () (chan-take done) (promise-resolve answer me)))))
                         replicas))))
  (chan-close (nth 1 gates))
  (check "the fastest" (promise-wait answer) 1)
  (mapc #'chan-close gates)
  (check "who was it" (mapcar #'thread-join racers) '(nil t nil)))

;; As they come: each answer is used before the next one is there.
(let* ((gates (mapcar (lambda (_) (make-chan 1)) workers))
       (promises (ask-all #'chan-take gates))
       (left promises) came)
  (dolist (n '(2 0 3 1))
    (chan-put (nth n gates) n)
    (let ((first (promise-any left)))
      (setq left (remq first left))
      (push (promise-wait first) came)))
  (check "as they come" (nreverse came) '(2 0 3 1)))

;; One deadline for all.  Who is late is told, and does not begin with what nobody wants any more.
(let* ((gate (make-chan)) (begun (make-chan 'unbounded))
       (promises (ask-all (lambda (n) (chan-put begun n) (if (= n 1) (chan-take gate)) n) '(0 1 2 3 4 5 6 7)))
       (soon (remq (nth 1 promises) (remq (nth 5 promises) promises))))
  (promise-all soon)
  (check "in time" (condition-case nil (chan-timeout 0.01 (promise-all promises))
                     (chan-timeout
                      (mapcar (lambda (p) (and (promise-settled-p p) (promise-wait p))) promises)))
         '(0 nil 2 3 4 nil 6 7))
  (mapc #'promise-cancel promises)
  (chan-close gate)
  ;; The worker that was late is free again.
  (check "after it" (promise-wait (thread-send (nth 1 workers) #'identity 'free)) 'free)
  (chan-close begun)
  (check "begun" (sort (chan-to-list begun) #'<) '(0 1 2 3 4 6 7)))

;; Many may keep one promise; one does.
(let* ((promise (make-promise)) (start (make-chan))
       (threads (mapcar (lambda (n)
                          (make-thread (lambda () (chan-take start) (cons n (promise-resolve promise n)))))
                        (number-sequence 1 10))))
  (chan-close start)
  (let* ((value (promise-wait promise))
         (kept (seq-filter #'cdr (mapcar #'thread-join threads))))
    (unless (equal kept (list (cons value t)))
      (error "It is %S, and was kept by %S" value kept))
    (princ "one of ten\n")))

(dolist (worker workers)
  (chan-close (thread-mailbox worker))
  (thread-join worker))
(princ "all ended\n")
