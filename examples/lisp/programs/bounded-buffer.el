;;; bounded-buffer.el --- eight threads, one ring, an exact count  -*- lexical-binding: t -*-

(defvar size 8)
(defvar ring (make-vector size nil))
(defvar head 0 "Items taken so far.")
(defvar tail 0 "Items put so far.")
(defvar ring-lock (make-mutex "ring"))
(defvar room (make-condition-variable ring-lock "room"))
(defvar items (make-condition-variable ring-lock "items"))

(defun ring-put (item)
  (with-mutex ring-lock
    (while (= (- tail head) size)
      (condition-wait room))
    (aset ring (% tail size) item)
    (setq tail (1+ tail))
    (condition-notify items)))

(defun ring-take ()
  (with-mutex ring-lock
    (while (= tail head)
      (condition-wait items))
    (prog1 (aref ring (% head size))
      (setq head (1+ head))
      (condition-notify room))))

(defun putter (from count)
  (dotimes (i count)
    (ring-put (+ from i))))

(defun taker (count)
  (let ((sum 0))
    (dotimes (_ count sum)
      (setq sum (+ sum (ring-take))))))

(let (putters takers (sum 0))
  (dotimes (i 4)
    (push (make-thread (lambda () (putter (* i 100) 100)) (format "putter %d" i)) putters)
    (push (make-thread (lambda () (taker 100)) (format "taker %d" i)) takers))
  (mapc #'thread-join putters)
  (dolist (taker takers)
    (setq sum (+ sum (thread-join taker))))
  (princ (format "put %d, took %d, sum %d\n" tail head sum))
  (unless (and (= tail 400) (= head 400) (= sum (/ (* 400 399) 2)))
    (error "The count is wrong")))
