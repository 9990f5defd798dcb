;;; manual.el --- what the manual's chapter on threads says  -*- lexical-binding: t -*-

(defun check (what ok)
  (princ (format "%s: %s\n" what (if ok "yes" "NO")))
  (unless ok
    (error "%s: no" what)))

;; Basic thread functions.
(let* ((start (make-mutex "start"))
       (thread (progn
                 (mutex-lock start)
                 (make-thread (lambda () (with-mutex start 'result)) "worker"))))
  (check "a thread is a thread" (threadp thread))
  (check "it has the name it was given" (equal (thread-name thread) "worker"))
  (check "it is alive" (thread-live-p thread))
  (check "the thread list has it" (memq thread (all-threads)))
  (mutex-unlock start)
  (check "join returns its result" (eq (thread-join thread) 'result))
  (check "then it is dead" (not (thread-live-p thread)))
  (check "and can be joined again" (eq (thread-join thread) 'result))
  (check "the thread list has it no more" (not (memq thread (all-threads)))))
(check "this is the main thread" (eq (current-thread) main-thread))

;; "While global variables are shared, a dynamic let binding is local."
(defvar shared 'global)
(let ((shared 'local))
  (check "a let binding is not seen by others"
         (eq (thread-join (make-thread (lambda () shared))) 'global)))
(thread-join (make-thread (lambda () (setq shared 'changed))))
(check "a global value is" (eq shared 'changed))

;; "Each thread also has its own current buffer and its own match data."
(string-match "c" "abc")
(thread-join (make-thread (lambda () (set-buffer "*Messages*") (string-match "a" "abc"))))
(check "the current buffer is our own" (equal (buffer-name) "*scratch*"))
(check "the match data is our own" (= (match-beginning 0) 2))

;; "Bindings in a closure are shared by any threads invoking the closure."
(let* ((count 0)
       (lock (make-mutex))
       (add (lambda () (dotimes (_ 50) (with-mutex lock (setq count (1+ count)))))))
  (mapc #'thread-join (list (make-thread add) (make-thread add)))
  (check "both threads counted in one variable" (= count 100)))

;; "The last error form recorded when a thread exited due to an error."
(check "a thread that died of an error joins as nil"
       (null (thread-join (make-thread (lambda () (error "Oops"))))))
(check "the error is kept" (equal (thread-last-error t) '(error "Oops")))
(check "and can be cleaned up" (null (thread-last-error)))

;; Mutexes are recursive.
(let ((mutex (make-mutex "mine")))
  (mutex-lock mutex)
  (mutex-lock mutex)
  (mutex-unlock mutex)
  (let ((other (make-thread (lambda () (with-mutex mutex 'got)))))
    (while (not (eq (thread--blocker other) mutex))
      (sleep-for 0.001))
    (check "one level is still locked" (thread-live-p other))
    (mutex-unlock mutex)
    (check "each lock has its unlock" (eq (thread-join other) 'got)))
  (check "unlocking what one does not own is an error"
         (condition-case nil (progn (mutex-unlock mutex) nil) (error t))))

;; The example of the section on condition variables.
(defvar global-variable nil)
(let* ((mutex (make-mutex))
       (cond-var (make-condition-variable mutex "computed"))
       (waiter (make-thread
                (lambda ()
                  (with-mutex mutex
                    (while (not global-variable)
                      (condition-wait cond-var))
                    global-variable)))))
  (while (not (eq (thread--blocker waiter) cond-var))
    (sleep-for 0.001))
  (with-mutex mutex
    (setq global-variable 'some-computation)
    (condition-notify cond-var))
  (check "the waiter saw it" (eq (thread-join waiter) 'some-computation)))
