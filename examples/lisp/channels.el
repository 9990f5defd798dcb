;;; channels.el --- what of channels is written in Lisp  -*- lexical-binding: t -*-

;; Read before every program, after prelude.el.

;;; The words

(defalias 'chan #'make-chan)

(defconst chan--end (make-symbol "end") "Is in no channel.")

(defmacro loop-chan (chan var &rest body)
  "Runs BODY with VAR bound to each value of CHAN, until that is closed and empty."
  (let ((c (make-symbol "chan")) (value (make-symbol "value")))
    `(let ((,c ,chan) ,value)
       (while (not (eq (setq ,value (chan-take ,c chan--end)) chan--end))
         (let ((,var ,value)) ,@body)))))

(defmacro chan-timeout (seconds &rest body)
  "Runs BODY, whose puts and takes together wait for at most SECONDS; then they signal `chan-timeout'."
  `(chan--limit ,seconds (lambda () ,@body)))

(define-error 'chan-timeout "Waited too long for a channel")

(defmacro go (&rest body)
  "Runs BODY in a new thread. The value comes through the channel that this returns, which is then closed."
  (let ((end (make-symbol "end")))
    `(let ((,end (make-chan 1)))
       (make-thread (lambda ()
                      (unwind-protect (chan-put ,end (progn ,@body))
                        (chan-close ,end))))
       ,end)))

;;; Messages to threads

;; A message is (RESULT FUNCTION . ARGS).  RESULT is a channel with room for one: it gets (t . VALUE), or (nil . ERROR),
;; which a reader puts back for the others.  It is closed if the thread ended without an answer.

(define-error 'thread-dead "The thread has ended")

(defun thread-send (thread function &rest args)
  "Asks THREAD to call FUNCTION, of which and of ARGS it gets copies. Returns a result for `thread-wait'."
  (let ((result (make-chan 1 :name "result")) (call (thread--copy (cons function args))))
    (unless (chan-put (thread-mailbox thread) (cons result call))
      (signal 'thread-dead (list thread call)))
    result))

(defun thread-serve ()
  "Does what others ask this thread to do, in order, until its mailbox is closed."
  (loop-chan (thread-mailbox) message
    (let ((result (car message)) answer)
      (unwind-protect
          (setq answer (condition-case err
                           (cons t (thread--copy (apply (car (cdr message)) (cdr (cdr message)))))
                         (error (cons nil err))))
        (if answer (chan-put result answer) (chan-close result))))))

(defun thread-result (result)
  "Waits for RESULT: the value, which is one object for all who ask; or the error, which is signalled."
  (let ((answer (chan-take result chan--end)))
    (if (eq answer chan--end) (signal 'thread-dead (list result)))
    (chan-put result answer)
    (if (car answer) (cdr answer)
      (signal (car (cdr answer)) (cdr (cdr answer))))))

(defun thread-wait (&rest results)
  "Waits for all RESULTS, and returns a list of the values."
  (mapcar #'thread-result results))
