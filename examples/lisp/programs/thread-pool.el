;;; thread-pool.el --- workers, tasks and futures  -*- lexical-binding: t -*-

;; A future is a vector: state, value, mutex, condition.

(defun make-future ()
  (let ((m (make-mutex "future")))
    (vector 'pending nil m (make-condition-variable m "future"))))

(defun future-set (future state value)
  (with-mutex (aref future 2)
    (aset future 0 state)
    (aset future 1 value)
    (condition-notify (aref future 3) t)))

(defun future-get (future)
  "Waits for the value; signals the error that the task ended with."
  (with-mutex (aref future 2)
    (while (eq (aref future 0) 'pending)
      (condition-wait (aref future 3)))
    (if (eq (aref future 0) 'failed)
        (signal (car (aref future 1)) (cdr (aref future 1)))
      (aref future 1))))

(defvar tasks nil "List of (FUTURE . FUNCTION), oldest first.")
(defvar closed nil)
(defvar pool-lock (make-mutex "pool"))
(defvar work (make-condition-variable pool-lock "work"))

(defun submit (function)
  (let ((future (make-future)))
    (with-mutex pool-lock
      (setq tasks (append tasks (list (cons future function))))
      (condition-notify work))
    future))

(defun next-task ()
  (with-mutex pool-lock
    (while (and (null tasks) (not closed))
      (condition-wait work))
    (pop tasks)))

(defun worker ()
  (let ((done 0) task)
    (while (setq task (next-task))
      (condition-case err
          (future-set (car task) 'done (funcall (cdr task)))
        (error (future-set (car task) 'failed err)))
      (setq done (1+ done)))
    done))

(defun fib (n)
  (if (< n 2) n (+ (fib (- n 1)) (fib (- n 2)))))

(let (workers futures)
  (dotimes (i 4)
    (push (make-thread #'worker (format "worker %d" i)) workers))
  (dotimes (n 16)
    (push (submit (lambda () (fib n))) futures))
  (let ((bad (submit (lambda () (/ 1 0))))
        (values (mapcar #'future-get (nreverse futures))))
    (princ (format "%S\n" values))
    (unless (equal values '(0 1 1 2 3 5 8 13 21 34 55 89 144 233 377 610))
      (error "Wrong values"))
    (princ (format "the bad task: %S\n"
                   (condition-case err (future-get bad) (arith-error err)))))
  (with-mutex pool-lock
    (setq closed t)
    (condition-notify work t))
  (let ((done (apply #'+ (mapcar #'thread-join workers))))
    (princ (format "%d tasks done\n" done))
    (unless (= done 17)
      (error "Tasks got lost"))))
