;;; philosophers.el --- five of them dine  -*- lexical-binding: t -*-

;; Each needs the fork at either hand.  All take the fork with the lower number first, so
;; there is no circle of philosophers who wait for each other.

(defvar seats 5)
(defvar rounds 30)
(defvar forks
  (let ((v (make-vector seats nil)))
    (dotimes (i seats v)
      (aset v i (make-mutex (format "fork %d" i))))))
(defvar holder (make-vector seats nil) "Who holds each fork.")
(defvar meals (make-vector seats 0))

(defun hold (fork who)
  (when (aref holder fork)
    (error "Fork %d is held by %S, and now by %S" fork (aref holder fork) who))
  (aset holder fork who))

(defun drop-fork (fork)
  (aset holder fork nil))

(defun dine (who)
  (let* ((left who)
         (right (% (1+ who) seats))
         (first (min left right))
         (second (max left right)))
    (dotimes (_ rounds)
      (with-mutex (aref forks first)
        (hold first who)
        (thread-yield)
        (with-mutex (aref forks second)
          (hold second who)
          (aset meals who (1+ (aref meals who)))
          (thread-yield)
          (drop-fork second))
        (drop-fork first)))
    who))

(let (table)
  (dotimes (who seats)
    (push (make-thread (lambda () (dine who)) (format "philosopher %d" who)) table))
  (dolist (philosopher (nreverse table))
    (let ((who (thread-join philosopher)))
      (unless who
        (error "A philosopher died: %S" (thread-last-error)))
      (princ (format "philosopher %d ate %d times\n" who (aref meals who)))
      (unless (= (aref meals who) rounds)
        (error "Philosopher %d ate %d times" who (aref meals who))))))
(princ "nobody starved\n")
