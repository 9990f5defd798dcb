;;; deadlock.el --- threads that wait for each other are told  -*- lexical-binding: t -*-

;; Real Emacs hangs here. This Lisp signals `deadlock' in one thread of the ring, which lets go of what it holds, and the
;; others go on.

(defvar told nil)

(defun cross (mine other barrier)
  "Take MINE, wait until all have met at BARRIER, take OTHER; the thread that is told lets go."
  (condition-case ring
      (with-mutex mine
        (funcall barrier)
        (with-mutex other 'passed))
    (deadlock
     (push (cdr ring) told)
     'told)))

(defun meeting (count)
  "A function that returns when COUNT threads have called it."
  (let* ((lock (make-mutex "meeting"))
         (met (make-condition-variable lock))
         (here 0))
    (lambda ()
      (with-mutex lock
        (setq here (1+ here))
        (condition-notify met t)
        (while (< here count)
          (condition-wait met))))))

(dolist (count '(2 3 5))
  (setq told nil)
  (let ((mutexes nil) (threads nil) (barrier (meeting count)))
    (dotimes (i count)
      (push (make-mutex (format "m%d" i)) mutexes))
    (dotimes (i count)
      (let ((mine (nth i mutexes)) (other (nth (% (1+ i) count) mutexes)))
        (push (make-thread (lambda () (cross mine other barrier)) (format "t%d" i)) threads)))
    (let ((ends (mapcar #'thread-join threads)))
      (princ (format "ring of %d: %d told, %d passed\n"
                     count
                     (length (delq nil (mapcar (lambda (e) (eq e 'told)) ends)))
                     (length (delq nil (mapcar (lambda (e) (eq e 'passed)) ends)))))
      (unless (and (= (length told) 1) (= (length (car told)) count))
        (error "A ring of %d was told as %S" count told)))))

;; A join is part of a ring too.
(let* ((lock (make-mutex "lock"))
       (end (with-mutex lock
              (let ((thread (make-thread (lambda ()
                                           (condition-case nil
                                               (with-mutex lock 'got)
                                             (deadlock 'told)))
                                         "inner")))
                (condition-case ring
                    (thread-join thread)
                  (deadlock ring))))))
  (princ "join and mutex: told\n")
  (unless (or (eq end 'told) (eq (car-safe end) 'deadlock))
    (error "Nobody was told: %S" end)))
