;;; mailbox.el --- threads that share nothing with who sends them work  -*- lexical-binding: t -*-

;; `thread-send' copies the function, what it closes over, and its arguments; `thread-wait' gives copies of the values.
;; (Global variables, which all threads share, are not part of a message.)

(defvar prepared nil "Threads that have run `prepare'.")

(defun prepare ()
  (push (thread-name (current-thread)) prepared))

(defun my-function ()
  (list (thread-name (current-thread)) (length prepared)))

(let ((thread1 (make-thread #'thread-serve "one"))
      (thread2 (make-thread #'thread-serve "two"))
      (filename (list "file" "txt"))
      result1 result2)
  ;; Messages to one thread are answered in their order.
  (thread-send thread1 #'prepare)
  (setq result1 (thread-send thread1 #'my-function))
  ;; The closure has a copy of the variable, and of the list in it.
  (setq result2 (thread-send thread2 (lambda ()
                                       (setcar filename "changed")
                                       (setq filename (append filename '("there")))
                                       filename)))
  (setcar filename "changed here")
  (let ((values (thread-wait result1 result2)))
    (princ (format "%S %S\n" values filename))
    (unless (and (equal values '(("one" 1) ("changed" "txt" "there")))
                 (equal filename '("changed here" "txt")))
      (error "Something was shared"))
    ;; A result can be asked for again.
    (unless (equal (thread-wait result2 result1) (reverse values))
      (error "Another answer")))

  ;; What a message shares within itself, and circles in it, are as before.
  (let* ((ring (list 1 2 3)) (message (list ring ring "text")))
    (setcdr (last ring) ring)
    (let ((answer (car (thread-wait (thread-send thread1 #'identity message)))))
      (unless (and (eq (nth 0 answer) (nth 1 answer))
                   (not (eq (nth 0 answer) ring))
                   (eq (nthcdr 3 (nth 0 answer)) (nth 0 answer))
                   (equal (nth 2 answer) "text")
                   (not (eq (nth 2 answer) (nth 2 message))))
        (error "A bad copy"))))

  ;; Two closures that share a variable share the copy of it.
  (let* ((count 0)
         (more (lambda () (setq count (1+ count))))
         (pair (car (thread-wait (thread-send thread2 (lambda (f) (funcall f) (funcall f) (list f f)) more)))))
    (unless (and (= (funcall (car pair)) 3) (= (funcall (nth 1 pair)) 4) (= count 0))
      (error "Bad copies of a closure")))

  ;; A list of any length.
  (unless (= (length (car (thread-wait (thread-send thread2 #'cdr (number-sequence 1 50000))))) 49999)
    (error "A long list came back otherwise"))

  ;; An error is raised where the result is waited for; the thread goes on.
  (princ (format "%S\n" (condition-case err
                            (thread-wait (thread-send thread2 #'/ 1 0))
                          (arith-error err))))

  ;; A request may take too long for who waits.
  (let* ((gate (make-chan))
         (slow (thread-send thread2 (lambda () (chan-take gate)))))
    (princ (format "%S\n" (condition-case nil
                              (chan-timeout 0.01 (thread-wait slow))
                            (chan-timeout 'late))))
    (chan-put gate 'at-last)
    (princ (format "%S\n" (thread-wait slow))))

  ;; Who asked may not want it any more: then it is not begun.
  (let* ((gate (make-chan))
         (slow (thread-send thread2 (lambda () (chan-take gate))))
         (unwanted (thread-send thread2 #'chan-close gate)))
    (unless (promise-cancel unwanted) (error "It was done before its turn"))
    (chan-put gate 'go)
    (thread-wait slow (thread-send thread2 #'ignore))
    (if (chan-closed-p gate) (error "It was done all the same")))

  ;; A thread that ends leaves no one waiting.
  (let* ((gate (make-chan 0 :name "gate"))
         (current (thread-send thread2 (lambda () (chan-take gate))))
         (next (thread-send thread2 #'identity 1)))
    (while (not (eq (thread--blocker thread2) gate))
      (sleep-for 0.001))
    (thread-signal thread2 'quit nil)
    ;; Of the call that was begun nobody knows how far it came; the other one comes back.
    (let ((err (condition-case err (thread-wait current) (promise-cancelled err))))
      (unless (equal err (list 'promise-cancelled current))
        (error "A call that was begun: %S" err)))
    (let ((err (condition-case err (thread-wait next) (thread-dead err))))
      (unless (equal err (list 'thread-dead next '(identity 1)))
        (error "A call that was not begun: %S" err)))
    (while (thread-live-p thread2)
      (sleep-for 0.001))
    ;; Who sends to a dead thread gets the message back.
    (let ((err (condition-case err (thread-send thread2 #'list 1 2) (thread-dead err))))
      (unless (equal (cdr err) (list thread2 '(list 1 2)))
        (error "Not given back: %S" err))))

  ;; Also if nobody had written to it before it ended.
  (let ((thread (make-thread #'ignore)))
    (thread-join thread)
    (condition-case nil
        (error "A dead thread took a message: %S" (thread-send thread #'ignore))
      (thread-dead nil)))

  ;; A closed mailbox is read to its end.
  (let ((results (mapcar (lambda (n) (thread-send thread1 #'* n n)) '(1 2 3))))
    (chan-close (thread-mailbox thread1))
    (princ (format "%S\n" (apply #'thread-wait results)))
    (thread-join thread1))
  (princ "both ended\n"))
