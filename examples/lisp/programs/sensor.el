;;; sensor.el --- a display that shows the newest of too many readings  -*- lexical-binding: t -*-

;; The sensor never waits for the display: what was not taken is overtaken.

(let ((c (make-chan 3 :policy 'sliding)))
  (dotimes (n 10) (chan-put c n))
  (chan-close c)
  (let ((kept (chan-to-list c)))
    (princ (format "the newest: %S\n" kept))
    (unless (equal kept '(7 8 9)) (error "Not the newest"))))

(defvar reading (make-chan 1 :policy 'sliding :name "reading"))

(defun sense ()
  "Puts 1, 2 and so on until nobody wants more. Returns the last that was taken in."
  (let ((n 1))
    (while (chan-put reading n)
      (setq n (1+ n))
      (thread-yield))
    (1- n)))

(defun show (frames)
  "One reading in each FRAMES ticks of a clock, oldest first."
  (let ((clock (chan-tick 0.001)) shown)
    (while (< (length shown) frames)
      (chan-take clock)
      (push (chan-take reading) shown))
    (nreverse shown)))

(let* ((sensor (make-thread #'sense "sensor"))
       (display (make-thread (lambda () (show 30)) "display"))
       (shown (thread-join display)))
  (chan-close reading)
  (let ((last (thread-join sensor)) (before 0))
    (dolist (n shown)
      (unless (> n before) (error "%d is shown after %d" n before))
      (setq before n))
    (unless (and (= (length shown) 30) (<= before last))
      (error "%d shown, of %d" before last))
    ;; What was in it is there still.
    (let ((left (chan-to-list reading)))
      (unless (member left (list nil (list last)))
        (error "%S is left of %d" left last))))
  (princ "30 frames, none older than the one before\n"))

;; A display that minds neither a sensor that is silent nor one that talks all the time.
(defun watch (sensor frames)
  "What is seen in FRAMES ticks: the newest reading of each, or `silent'."
  (let ((clock (chan-tick 0.001)) (newest 'silent) seen)
    (while (< (length seen) frames)
      ;; The clock first, or it would not be heard.
      (let ((got (alts (list clock sensor) :priority t)))
        (cond ((eq (cdr got) sensor) (setq newest (car got)))
              (t (push newest seen)
                 (setq newest 'silent)))))
    (nreverse seen)))

(let ((seen (watch (make-chan 1 :policy 'sliding) 3)))
  (princ (format "%S\n" seen))
  (unless (equal seen '(silent silent silent)) (error "Seen: %S" seen)))

(let* ((loud (make-chan 1 :policy 'sliding))
       (sensor (go (let ((n 0)) (while (chan-put loud (setq n (1+ n))) (thread-yield)) n)))
       (seen (watch loud 5)))
  (chan-close loud)
  (let ((last (chan-take sensor)) (before 0))
    (dolist (n (remq 'silent seen))
      (unless (< before n last) (error "Seen: %S of %d" seen last))
      (setq before n))))

;; And one that gives up.
(let* ((sensor (make-chan 1 :policy 'sliding)) (patience (chan-after 0.005))
       (got (alts (list sensor patience))))
  (unless (eq (cdr got) patience) (error "It spoke: %S" got))
  (princ "gave up\n"))
