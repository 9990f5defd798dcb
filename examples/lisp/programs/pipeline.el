;;; pipeline.el --- stages with queues between, and a way to stop them  -*- lexical-binding: t -*-

;; numbers -> squares -> sums.  The source never ends by itself: when enough has come out,
;; all stages are cancelled by `thread-signal', wherever they wait.

(define-error 'cancelled "Cancelled")

(defun make-queue (name limit)
  (let ((m (make-mutex name)))
    (vector nil limit m (make-condition-variable m name))))

(defun queue-put (q item)
  (with-mutex (aref q 2)
    (while (>= (length (aref q 0)) (aref q 1))
      (condition-wait (aref q 3)))
    (aset q 0 (append (aref q 0) (list item)))
    (condition-notify (aref q 3) t)))

(defun queue-get (q)
  (with-mutex (aref q 2)
    (while (null (aref q 0))
      (condition-wait (aref q 3)))
    (condition-notify (aref q 3) t)
    (prog1 (car (aref q 0))
      (aset q 0 (cdr (aref q 0))))))

(defvar cleaned nil "Stages that ran their cleanup.")
(defvar cleaned-lock (make-mutex "cleaned"))

(defun stage (name step)
  "Starts a thread that runs STEP until it is cancelled."
  (make-thread
   (lambda ()
     (condition-case nil
         (unwind-protect
             (while t (funcall step))
           (with-mutex cleaned-lock
             (push name cleaned)))
       (cancelled (list name 'cancelled))))
   name))

(let* ((numbers (make-queue "numbers" 3))
       (squares (make-queue "squares" 3))
       (sums (make-queue "sums" 3))
       (n 0)
       (sum 0)
       (stages
        (list
         (stage "source" (lambda () (setq n (1+ n)) (queue-put numbers n)))
         (stage "square" (lambda () (let ((x (queue-get numbers))) (queue-put squares (* x x)))))
         (stage "sum" (lambda () (queue-put sums (setq sum (+ sum (queue-get squares))))))))
       results)
  (dotimes (_ 10)
    (push (queue-get sums) results))
  (setq results (nreverse results))
  (princ (format "%S\n" results))
  (unless (equal results '(1 5 14 30 55 91 140 204 285 385))
    (error "Wrong sums"))
  ;; Let every stage run into a full queue, then stop it there.
  (dolist (s stages)
    (while (not (thread--blocker s))
      (sleep-for 0.001)))
  (dolist (s stages)
    (thread-signal s 'cancelled '("enough")))
  (dolist (s stages)
    (while (thread-live-p s)
      (sleep-for 0.001))
    (princ (format "%S\n" (thread-join s))))
  (unless (equal (sort cleaned #'string<) '("source" "square" "sum"))
    (error "Cleanup did not run: %S" cleaned))
  (princ "all stages cleaned up\n"))
