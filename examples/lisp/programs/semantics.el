;;; semantics.el --- points where threads of other systems differ  -*- lexical-binding: t -*-

;; Run by itself in the example, by `-f ert-run-tests-batch-and-exit' in Emacs.

(require 'ert)

(defmacro wait-until (test)
  `(while (not ,test) (sleep-for 0.001)))

(defun block-until-dead (thread)
  "Waits for THREAD without joining it, which could raise its signals here."
  (wait-until (not (thread-live-p thread))))

(ert-deftest semantics-1-misuse-is-an-error ()
  (let* ((m (make-mutex)) (c (make-condition-variable m)))
    (should-error (mutex-unlock m))
    (should-error (condition-wait c))
    (should-error (condition-notify c))
    (should-error (thread-join (current-thread)))
    (mutex-lock m)
    (should (equal (thread-join
                    (make-thread (lambda ()
                                   (condition-case nil (mutex-unlock m) (error 'refused)))))
                   'refused))
    (mutex-unlock m)))

(ert-deftest semantics-2-wait-releases-all-levels-and-restores-them ()
  (let* ((m (make-mutex)) (c (make-condition-variable m)) ready
         (thread (make-thread
                  (lambda ()
                    (mutex-lock m)
                    (mutex-lock m)
                    (mutex-lock m)
                    (while (not ready) (condition-wait c))
                    (let ((levels 0))
                      (while (condition-case nil (progn (mutex-unlock m) t) (error nil))
                        (setq levels (1+ levels)))
                      levels)))))
    (wait-until (eq (thread--blocker thread) c))
    (with-mutex m
      (setq ready t)
      (condition-notify c))
    (should (= (thread-join thread) 3))))

(ert-deftest semantics-3-a-signal-in-condition-wait-finds-the-mutex-held ()
  (let* ((m (make-mutex)) (c (make-condition-variable m)) outcome
         (thread (make-thread
                  (lambda ()
                    (mutex-lock m)
                    (condition-case err
                        (while t (condition-wait c))
                      (error
                       (setq outcome
                             (list err (condition-case nil
                                           (progn (mutex-unlock m) 'held)
                                         (error 'not-held))))))))))
    (wait-until (eq (thread--blocker thread) c))
    (thread-signal thread 'error '("wake up"))
    (block-until-dead thread)
    (should (equal outcome '((error "wake up") held)))))

(ert-deftest semantics-4-a-signal-in-mutex-lock-leaves-the-mutex-alone ()
  (let* ((m (make-mutex)) outcome thread)
    (mutex-lock m)
    (setq thread (make-thread
                  (lambda ()
                    (condition-case err
                        (mutex-lock m)
                      (error
                       (setq outcome
                             (list err (condition-case nil
                                           (progn (mutex-unlock m) 'held)
                                         (error 'not-held)))))))))
    (wait-until (eq (thread--blocker thread) m))
    (thread-signal thread 'error '("give up"))
    (block-until-dead thread)
    (should (equal outcome '((error "give up") not-held)))
    (should (null (mutex-unlock m)))
    (should-error (mutex-unlock m))))

(ert-deftest semantics-5-join-does-not-tell-of-an-error ()
  (thread-last-error t)
  (should (null (thread-join (make-thread (lambda () (/ 1 0))))))
  (should (equal (thread-last-error) '(arith-error)))
  (should (null (thread-join (make-thread (lambda () (throw 'nobody 1))))))
  (should (equal (thread-last-error t) '(no-catch nobody 1)))
  (should (null (thread-last-error))))

(ert-deftest semantics-6-a-dead-owner-keeps-its-mutex ()
  (let ((m (make-mutex)) outcome waiter)
    (thread-join (make-thread (lambda () (mutex-lock m) nil)))
    (setq waiter (make-thread
                  (lambda ()
                    (condition-case err (mutex-lock m) (error (setq outcome err))))))
    (wait-until (eq (thread--blocker waiter) m))
    (thread-signal waiter 'error '("it is gone"))
    (block-until-dead waiter)
    (should (equal outcome '(error "it is gone")))))

(ert-deftest semantics-7-join-raises-an-undelivered-signal ()
  (let ((thread (make-thread #'ignore)))
    (thread-signal thread 'error '("too late"))
    (should (equal (should-error (thread-join thread)) '(error "too late"))))
  (let ((thread (make-thread #'ignore)))
    (thread-join thread)
    (thread-signal thread 'error '("far too late"))
    (should (equal (should-error (thread-join thread)) '(error "far too late")))))

(ert-deftest semantics-8-the-thread-list-and-signals-to-the-main-thread ()
  (should (eq (car (all-threads)) main-thread))
  (let* ((m (make-mutex)) before thread)
    (setq before (length (all-threads)))
    (mutex-lock m)
    (setq thread (make-thread (lambda () (with-mutex m nil))))
    (should (= (length (all-threads)) (1+ before)))
    (should (eq (car (last (all-threads))) thread))
    (mutex-unlock m)
    (thread-join thread)
    (should (= (length (all-threads)) before)))
  (should (eq (thread-join (make-thread
                            (lambda () (thread-signal main-thread 'error '("hello")) 'sent)))
              'sent)))

(ert-deftest semantics-9-a-thread-is-alive-when-it-was-made ()
  (let* ((m (make-mutex)) thread)
    (mutex-lock m)
    (setq thread (make-thread (lambda () (with-mutex m 'done))))
    (should (thread-live-p thread))
    (mutex-unlock m)
    (should (eq (thread-join thread) 'done))
    (should-not (thread-live-p thread))))
