;;; producer-consumer.el --- a bounded queue with two conditions  -*- lexical-binding: t -*-

;; One producer, one consumer, one slot-limited queue.  `not-full' and `not-empty' share the
;; queue's mutex; each side waits in a loop, as a notification is only a hint.

(defvar limit 4)
(defvar queue nil)
(defvar longest 0)
(defvar lock (make-mutex "queue"))
(defvar not-full (make-condition-variable lock "not-full"))
(defvar not-empty (make-condition-variable lock "not-empty"))

(defun put-item (item)
  (with-mutex lock
    (while (>= (length queue) limit)
      (condition-wait not-full))
    (setq queue (append queue (list item)))
    (setq longest (max longest (length queue)))
    (condition-notify not-empty)))

(defun take-item ()
  (with-mutex lock
    (while (null queue)
      (condition-wait not-empty))
    (condition-notify not-full)
    (pop queue)))

(let* ((count 200)
       (producer (make-thread
                  (lambda ()
                    (dotimes (i count) (put-item (* i i)))
                    (put-item 'done))
                  "producer"))
       (consumer (make-thread
                  (lambda ()
                    (let (item items)
                      (while (not (eq (setq item (take-item)) 'done))
                        (push item items))
                      (nreverse items)))
                  "consumer"))
       (items (thread-join consumer)))
  (thread-join producer)
  (princ (format "%d squares, the last is %d\n" (length items) (car (last items))))
  (let ((i 0))
    (dolist (item items)
      (unless (= item (* i i))
        (error "Item %d is %d" i item))
      (setq i (1+ i))))
  (unless (and (= (length items) count) (<= longest limit) (null queue))
    (error "Lost or left over: %S, longest %d" queue longest))
  (princ "in order, and never more than the limit in the queue\n"))
