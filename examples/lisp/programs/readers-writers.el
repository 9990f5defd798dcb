;;; readers-writers.el --- many may read, one may write  -*- lexical-binding: t -*-

;; A lock of our own, made of a mutex and a condition: readers share it, a writer has it
;; alone, and a writer that waits keeps new readers out.

(defvar gate (make-mutex "gate"))
(defvar changed (make-condition-variable gate "changed"))
(defvar readers 0)
(defvar writing nil)
(defvar writers-waiting 0)

(defun lock-shared ()
  (with-mutex gate
    (while (or writing (> writers-waiting 0))
      (condition-wait changed))
    (setq readers (1+ readers))))

(defun unlock-shared ()
  (with-mutex gate
    (setq readers (1- readers))
    (condition-notify changed t)))

(defun lock-alone ()
  (with-mutex gate
    (setq writers-waiting (1+ writers-waiting))
    (while (or writing (> readers 0))
      (condition-wait changed))
    (setq writers-waiting (1- writers-waiting)
          writing t)))

(defun unlock-alone ()
  (with-mutex gate
    (setq writing nil)
    (condition-notify changed t)))

;; Two numbers that are always equal, for who keeps to the rules.
(defvar left 0)
(defvar right 0)

(defun reader (times)
  (let ((torn 0))
    (dotimes (_ times torn)
      (lock-shared)
      (let ((seen left))
        (thread-yield)
        (unless (= seen right)
          (setq torn (1+ torn))))
      (unlock-shared))))

(defun writer (times)
  (dotimes (_ times)
    (lock-alone)
    (setq left (1+ left))
    (thread-yield)
    (setq right (1+ right))
    (unlock-alone)))

(let ((readers (list (make-thread (lambda () (reader 50)) "reader a")
                     (make-thread (lambda () (reader 50)) "reader b")
                     (make-thread (lambda () (reader 50)) "reader c")))
      (writers (list (make-thread (lambda () (writer 40)) "writer a")
                     (make-thread (lambda () (writer 40)) "writer b")))
      (torn 0))
  (mapc #'thread-join writers)
  (dolist (r readers)
    (setq torn (+ torn (thread-join r))))
  (princ (format "%d writes, %d torn reads\n" left torn))
  (unless (and (= left 80) (= right 80) (= torn 0))
    (error "Left %d, right %d, torn %d" left right torn)))
