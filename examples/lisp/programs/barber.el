;;; barber.el --- he sleeps until somebody comes, and has three chairs for those who wait  -*- lexical-binding: t -*-

;; The waiting room is a channel that loses who comes when it is full.  A customer is (NAME . CUT), where CUT is a promise: who
;; has a chair waits for it.

(defvar room (make-chan 3 :policy 'dropping :name "waiting room"))
(defvar scissors (make-chan 0 :name "scissors") "The barber takes from it before each cut; when it is closed, he need not wait.")
(defvar cut-names nil "Who was cut, the last first.")

(defun work ()
  "The barber's day, to the end of the customers."
  (loop-chan room customer
    (chan-take scissors)
    (push (car customer) cut-names)
    (promise-resolve (cdr customer) (format "%s is shorn" (car customer)))))

(defun visit (name)
  "What a customer tells at home."
  (let ((cut (make-promise (format "cut of %s" name))))
    (if (chan-offer room (cons name cut)) (promise-wait cut) 'turned-away)))

(defun in-thread (name)
  (make-thread (lambda () (visit name)) (format "%s" name)))

(defun wait-until-blocked (thread on)
  (while (not (eq (thread--blocker thread) on)) (sleep-for 0.001)))

(let ((barber (make-thread #'work "barber")))
  (wait-until-blocked barber room)
  (princ "the barber sleeps\n")

  ;; Somebody wakes him, and three find a chair.
  (let* ((first (in-thread 'ann)) seated)
    (wait-until-blocked barber scissors)
    (dolist (name '(bob cat dan))
      (push (in-thread name) seated)
      (while (< (chan-len room) (length seated)) (sleep-for 0.001)))
    (unless (equal (mapcar #'visit '(eve fay)) '(turned-away turned-away))
      (error "There was a fourth chair"))
    ;; A put does not wait either, but does not tell.
    (let ((cut (make-promise)))
      (unless (and (chan-put room (cons 'gus cut)) (= (chan-len room) 3))
        (error "The room is another"))
      (chan-put scissors 'snip)
      (princ (format "%S\n" (thread-join first)))
      (dotimes (_ 3) (chan-put scissors 'snip))
      (princ (format "%S\n" (mapcar #'thread-join (reverse seated))))
      (if (promise-settled-p cut) (error "Gus had no chair")))
    (unless (equal (reverse cut-names) '(ann bob cat dan))
      (error "Not in their order: %S" (reverse cut-names))))

  ;; A crowd.
  (chan-close scissors)
  (setq cut-names nil)
  (let* ((names (number-sequence 1 40))
         (stories (mapcar #'thread-join (mapcar #'in-thread names)))
         (shorn 0))
    (dolist (name names)
      (let ((story (car stories)) (cut (memq name cut-names)))
        (setq stories (cdr stories))
        (if cut (setq shorn (1+ shorn)))
        (unless (equal story (if cut (format "%d is shorn" name) 'turned-away))
          (error "%d says %S" name story))))
    (unless (and (> shorn 0) (= shorn (length cut-names)))
      (error "%d were shorn, the barber says %d" shorn (length cut-names))))
  (princ "all were shorn, or saw that there was no chair\n")

  (chan-close room)
  (thread-join barber)
  (unless (eq (visit 'late) 'turned-away)
    (error "The shop is closed"))
  (princ "the barber goes home\n"))
