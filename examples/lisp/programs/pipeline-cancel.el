;;; pipeline-cancel.el --- stages that wait for each other, and two ways to stop them  -*- lexical-binding: t -*-

;; numbers -> squares -> sums.  The source never ends by itself, but when nobody takes the sums, it is held up after as many
;; numbers as the channels and the hands of the stages hold.

(define-error 'cancelled "Cancelled")

(defvar made 0 "The last number of the source.")

(defun stage (name in out function)
  "A thread that moves what FUNCTION makes of IN to OUT; its value is the number of moves, or the value it had in its hand."
  (make-thread
   (lambda ()
     (let ((count 0) (open t) hand)
       (condition-case nil
           (progn
             (while open
               (setq hand (funcall function (if in (chan-take in))))
               (if (setq open (chan-put out hand))
                   (setq count (1+ count))))
             ;; Whoever reads OUT wants no more: so does this stage.
             (if in (chan-close in))
             count)
         (cancelled (list name hand)))))
   name))

(defun start ()
  "The channels and the stages, when all of them wait."
  (setq made 0)
  (let* ((sum 0)
         (chans (mapcar (lambda (name) (make-chan 3 :name name)) '("numbers" "squares" "sums")))
         (stages (list (stage "source" nil (nth 0 chans) (lambda (_) (setq made (1+ made))))
                       (stage "square" (nth 0 chans) (nth 1 chans) (lambda (x) (* x x)))
                       (stage "sum" (nth 1 chans) (nth 2 chans) (lambda (x) (setq sum (+ sum x)))))))
    ;; Three channels of three, three hands.
    (while (not (and (= made 12)
                     (equal (mapcar #'chan-len chans) '(3 3 3))
                     (equal (mapcar #'thread--blocker stages) chans)))
      (sleep-for 0.001))
    (sleep-for 0.01)
    (unless (= made 12)
      (error "The source ran ahead to %d" made))
    (list chans stages)))

;; Who reads goes away: each stage hears of it from the next one.
(let* ((started (start)) (chans (car started)) (stages (nth 1 started)) (sums (nth 2 chans)) results)
  (princ (format "%d numbers, then all wait: %S\n" made
                 (mapcar (lambda (s) (chan-name (thread--blocker s))) stages)))
  (dotimes (_ 10)
    (push (chan-take sums) results))
  (setq results (nreverse results))
  (princ (format "%S\n" results))
  (unless (equal results '(1 5 14 30 55 91 140 204 285 385))
    (error "Wrong sums"))
  (chan-close sums)
  (let ((moves (mapcar #'thread-join stages)))
    (unless (and (mapc #'chan-closed-p chans)
                 (= (nth 0 moves) (1- made))
                 (>= (nth 0 moves) (nth 1 moves))
                 (>= (nth 1 moves) (nth 2 moves))
                 (>= (nth 2 moves) (length results)))
      (error "Wrong moves: %S of %d" moves made)))
  (princ "closed from the end to the source\n"))

;; A signal ends the waits.  What was in a channel is there still, and what was not sent is in the hand of the stage.
(let* ((started (start)) (chans (car started)) (stages (nth 1 started)) hands left)
  (dolist (s stages)
    (thread-signal s 'cancelled nil))
  (dolist (s stages)
    (while (thread-live-p s)
      (sleep-for 0.001)))
  (setq hands (mapcar #'thread-join stages))
  (mapc #'chan-close chans)
  (setq left (mapcar #'chan-to-list chans))
  (princ (format "in the hands: %S\nin the channels: %S\n" hands left))
  (unless (and (equal hands '(("source" 12) ("square" 64) ("sum" 30)))
               (equal left '((9 10 11) (25 36 49) (1 5 14))))
    (error "Lost or doubled")))
