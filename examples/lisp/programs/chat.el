;;; chat.el --- a room and its fifty guests, a thread each  -*- lexical-binding: t -*-

;; The room hears (join NAME INBOX), (say NAME TEXT) and (leave NAME), and tells every guest in it what is said, the speaker
;; too.  A guest's inbox has no bound: a guest that waits to speak must not hold up the room that speaks to it.

(defvar guests 50)
(defvar room (make-chan 0 :name "room"))
(defvar doors (make-chan 0 :name "doors") "Closed when all guests are there: nobody misses a word.")

(defun name-of (i) (format "guest %d" i))

;; Some have less to say, and leave.
(defun words-of (i) (if (= (% i 10) 9) 2 4))
(defun stays-p (i) (/= (% i 10) 9))

(defun run-room ()
  "Returns how many lines were said, and to how many ears."
  (let ((inside nil) (came 0) (silent 0) (lines 0) (heard 0))
    (while (< silent guests)
      (let* ((message (chan-take room)) (what (car message)) (who (nth 1 message)))
        (cond ((eq what 'join)
               (push (cons who (nth 2 message)) inside)
               (if (= (setq came (1+ came)) guests) (chan-close doors)))
              ((eq what 'say)
               (setq lines (1+ lines))
               (dolist (guest inside)
                 (chan-put (cdr guest) (cons who (nth 2 message)))
                 (setq heard (1+ heard))))
              ((eq what 'leave)
               (setq silent (1+ silent))
               (chan-close (cdr (assoc who inside)))
               (setq inside (delq (assoc who inside) inside)))
              ((eq what 'silent)
               (setq silent (1+ silent))))))
    (dolist (guest inside)
      (chan-close (cdr guest)))
    (list lines heard)))

(defun run-guest (i)
  "Returns all that the guest heard, oldest first."
  (let ((name (name-of i)) (inbox (make-chan 'unbounded :name (name-of i))))
    (chan-put room (list 'join name inbox))
    (chan-take doors)
    (dotimes (n (words-of i))
      (chan-put room (list 'say name n)))
    (chan-put room (list (if (stays-p i) 'silent 'leave) name))
    (chan-to-list inbox)))

(defun prefix-p (short long)
  (while (and short (equal (car short) (car long)))
    (setq short (cdr short) long (cdr long)))
  (null short))

(let* ((host (make-thread #'run-room "room"))
       (threads (mapcar (lambda (i) (make-thread (lambda () (run-guest i)) (name-of i)))
                        (number-sequence 0 (1- guests))))
       (logs (mapcar #'thread-join threads))
       (said (thread-join host))
       (full (car logs))
       (i 0)
       (heard 0))
  (unless (= (length full) (car said))
    (error "%d lines said, %d heard" (car said) (length full)))
  (dolist (log logs)
    ;; All hear the same, in the same order, as long as they are there.
    (unless (if (stays-p i) (equal log full) (prefix-p log full))
      (error "%s heard something else" (name-of i)))
    ;; And nobody's words are turned around.
    (unless (equal (delq nil (mapcar (lambda (line) (if (equal (car line) (name-of i)) (cdr line))) log))
                   (number-sequence 0 (1- (words-of i))))
      (error "%s did not hear itself" (name-of i)))
    (setq heard (+ heard (length log)) i (1+ i)))
  (unless (= heard (nth 1 said))
    (error "%S said, %d heard" said heard))
  (princ (format "%d guests, %d lines, the same for all\n" guests (car said))))
