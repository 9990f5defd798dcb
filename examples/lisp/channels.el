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
  "Runs BODY, whose puts, takes and waits for promises together wait for at most SECONDS; then they signal `chan-timeout'."
  `(chan--limit ,seconds (lambda () ,@body)))

(define-error 'chan-timeout "Waited too long for a channel or a promise")

(defmacro go (&rest body)
  "Runs BODY in a new thread. The value comes through the channel that this returns, which is then closed."
  (let ((end (make-symbol "end")))
    `(let ((,end (make-chan 1)))
       (make-thread (lambda ()
                      (unwind-protect (chan-put ,end (progn ,@body))
                        (chan-close ,end))))
       ,end)))

;;; Messages to threads

;; A message is (RESULT FUNCTION . ARGS).  RESULT is a promise: if this thread lets go of it without an answer, because it
;; ends meanwhile, the promise is cancelled.

(define-error 'thread-dead "The thread has ended")
(define-error 'promise-cancelled "Nobody will keep the promise")

;; Only who names it handles it: a thread that goes on after its errors ends with those it is linked to.
(put 'thread-link-broken 'error-message "A linked thread has failed")
(put 'thread-link-broken 'error-conditions '(thread-link-broken))

(defun thread-serve ()
  "Does what others ask this thread to do, in order, until its mailbox is closed. What was cancelled is not begun."
  (loop-chan (thread-mailbox) message
    (let ((result (car message)))
      (unless (promise-settled-p result)
        (condition-case err
            (promise-resolve result (thread--copy (apply (car (cdr message)) (cdr (cdr message)))))
          (error (promise-reject result err)))))))

(defalias 'thread-result #'promise-wait)

(defun thread-wait (&rest results)
  "Waits for all RESULTS, and returns a list of the values, one object for all who ask; or signals the error of one."
  (promise-all results))

;;; Channels to channels

(defun chan--move (from to)
  "Moves values until FROM is at its end, or TO closed."
  (let (value)
    (while (and (not (eq (setq value (chan-take from chan--end)) chan--end))
                (chan-put to value)))))

(defun onto-chan (chan list &optional keep-open)
  "Puts the elements of LIST, in another thread, and closes CHAN unless KEEP-OPEN. Returns a channel that is closed then."
  (go (while (and list (chan-put chan (car list)))
        (setq list (cdr list)))
      (unless keep-open (chan-close chan))))

(defun chan-to-list (chan)
  "All values of CHAN, when it is closed."
  (let (list)
    (loop-chan chan value (push value list))
    (nreverse list)))

(defun chan-pipe (from to &optional keep-open)
  "Moves values from FROM to TO, which is closed at the end of FROM unless KEEP-OPEN. Ends when TO is closed. Returns TO."
  (go (chan--move from to)
      (unless keep-open (chan-close to)))
  to)

(defun chan-merge (chans &optional capacity)
  "A channel with the values of all CHANS; closed when they all are."
  (let ((to (make-chan capacity)))
    (go (while chans
          (let ((got (alts chans :closed chan--end)))
            (cond ((eq (car got) chan--end) (setq chans (remq (cdr got) chans)))
                  ((not (chan-put to (car got))) (setq chans nil)))))
        (chan-close to))
    to))

(defun chan-split (predicate from &optional capacity other-capacity)
  "A pair of channels: the values of FROM for which PREDICATE holds, and the others. What is for a closed one is lost."
  (let ((yes (make-chan capacity)) (no (make-chan other-capacity)))
    (go (unwind-protect
            (let (value)
              (while (not (or (and (chan-closed-p yes) (chan-closed-p no))
                              (eq (setq value (chan-take from chan--end)) chan--end)))
                (chan-put (if (funcall predicate value) yes no) value)))
          (chan-close yes)
          (chan-close no)))
    (cons yes no)))

(defun chan-pipeline (count to function from &optional keep-open on-error)
  "Puts FUNCTION of each value of FROM into TO, computed by COUNT threads, in the order of FROM. A value for which it
signals an error is left out; with ON-ERROR, what that returns for the error comes in its place, unless nil. TO is closed
at the end of FROM unless KEEP-OPEN; when it is closed by others, the threads end."
  (let ((jobs (make-chan count)) (places (make-chan count)))
    (dotimes (_ count)
      (go (loop-chan jobs job
            (let ((place (car job)))
              (unwind-protect
                  (condition-case err
                      (chan-put place (funcall function (cdr job)))
                    (error (let ((value (and on-error (ignore-errors (funcall on-error err)))))
                             (if value (chan-put place value)))))
                (chan-close place))))))
    (go (let (value place)
          (while (and (not (eq (setq value (chan-take from chan--end)) chan--end))
                      (chan-put places (setq place (make-chan 1)))
                      (chan-put jobs (cons place value)))))
        (chan-close places)
        (chan-close jobs))
    (go (let ((open t) place value)
          (while (and open (not (eq (setq place (chan-take places chan--end)) chan--end)))
            (setq value (chan-take place chan--end))
            (unless (eq value chan--end) (setq open (chan-put to value))))
          (chan-close places)
          (unless keep-open (chan-close to))))
    to))

;;; One channel to many

;; A mult is [chan-mult TAPS LOCK OVER]; TAPS is a list of (TO . KEEP-OPEN).

(defun chan-mult (from)
  "Gives each value of FROM to all taps. One that does not take it holds up the others. Without a tap, values are lost."
  (let ((mult (vector 'chan-mult nil (make-mutex "mult") nil)))
    (go (loop-chan from value
          (let ((left (mapcar #'car (aref mult 1))))
            ;; Whoever takes it first: readers may take turns in any order.
            (while left
              (let ((done (alts (mapcar (lambda (to) (vector to value)) left))))
                (unless (car done) (chan-untap mult (cdr done)))
                (setq left (remq (cdr done) left))))))
        (with-mutex (aref mult 2)
          (aset mult 3 t)
          (dolist (tap (aref mult 1))
            (unless (cdr tap) (chan-close (car tap))))))
    mult))

(defun chan-tap (mult to &optional keep-open)
  "MULT gives its values to TO as well, and closes it at the end unless KEEP-OPEN. Returns TO."
  (with-mutex (aref mult 2)
    (chan-untap mult to)
    (aset mult 1 (cons (cons to keep-open) (aref mult 1)))
    (and (aref mult 3) (not keep-open) (chan-close to)))
  to)

(defun chan-untap (mult to)
  "MULT gives no more to TO, but for a value that is on its way."
  (with-mutex (aref mult 2)
    (aset mult 1 (remq (assq to (aref mult 1)) (aref mult 1)))))

;; A pub is [chan-pub TOPICS LOCK OVER]; TOPICS is a list of (TOPIC CHAN . MULT).

(defun chan-pub (from topic-function)
  "Gives each value of FROM to those who subscribed to what TOPIC-FUNCTION returns for it; without any, it is lost."
  (let ((pub (vector 'chan-pub nil (make-mutex "pub") nil)))
    (go (unwind-protect
            (loop-chan from value
              (let ((topic (assoc (funcall topic-function value) (aref pub 1))))
                (if topic (chan-put (car (cdr topic)) value))))
          (with-mutex (aref pub 2)
            (aset pub 3 t)
            (dolist (topic (aref pub 1))
              (chan-close (car (cdr topic)))))))
    pub))

(defun chan-sub (pub topic to &optional keep-open)
  "TO gets the values of PUB of TOPIC, and is closed at the end unless KEEP-OPEN. Returns TO."
  (let ((found (with-mutex (aref pub 2)
                 (or (assoc topic (aref pub 1))
                     (let* ((from (make-chan)) (new (cons topic (cons from (chan-mult from)))))
                       (if (aref pub 3) (chan-close from))
                       (aset pub 1 (cons new (aref pub 1)))
                       new)))))
    (chan-tap (cdr (cdr found)) to keep-open)))

(defun chan-unsub (pub topic to)
  "TO gets no more of the values of PUB of TOPIC."
  (let ((found (assoc topic (aref pub 1))))
    (if found (chan-untap (cdr (cdr found)) to))))

;;; Many channels to one, as at a mixing desk

;; A mix is [chan-mix SOURCES LOCK CHANGES SOLO-MODE]; SOURCES is a list of (CHAN . PLIST), and each change is told through
;; the channel CHANGES.

(defun chan-mix (to)
  "Moves to TO what comes from the sources, which `chan-admix' adds. Ends when TO is closed, which it does not do."
  (let ((mix (vector 'chan-mix nil (make-mutex "mix") (make-chan 'unbounded :name "changes") :mute)))
    (go (let ((open t))
          (while open
            (let* ((got (alts (cons (aref mix 3) (chan--mix-reads mix)) :closed chan--end))
                   (from (cdr got)))
              (cond ((eq from (aref mix 3)))
                    ((eq (car got) chan--end) (chan-unmix mix from))
                    ((chan--mix-hears mix from) (setq open (chan-put to (car got)))))))))
    mix))

(defun chan--mixed (sources property)
  "Those of SOURCES that have PROPERTY."
  (mapcar #'car (seq-filter (lambda (source) (plist-get (cdr source) property)) sources)))

(defun chan--mix-reads (mix)
  "The sources to read."
  (let* ((sources (aref mix 1)) (solo (chan--mixed sources :solo)) (paused (chan--mixed sources :pause)))
    (if (and solo (eq (aref mix 4) :pause)) solo
      (seq-filter (lambda (c) (not (memq c paused))) (mapcar #'car sources)))))

(defun chan--mix-hears (mix from)
  "Goes what was read from FROM into the mix?"
  (let* ((sources (aref mix 1)) (solo (chan--mixed sources :solo)))
    (if solo (memq from solo)
      (and (assq from sources) (not (memq from (chan--mixed sources :mute)))))))

(defun chan--remix (mix change)
  "The sources are what CHANGE makes of them."
  (with-mutex (aref mix 2)
    (aset mix 1 (funcall change (aref mix 1))))
  (chan-put (aref mix 3) t))

(defun chan-toggle (mix from &rest properties)
  "Sets PROPERTIES of the source FROM, which is added if it is none: :pause (it is not read), :mute (what is read is lost),
:solo (only such are heard), each t or nil."
  (chan--remix mix (lambda (sources)
                     (let ((old (append (cdr (assq from sources)) nil)) (new properties))
                       (while new
                         (setq old (plist-put old (car new) (car (cdr new))) new (cdr (cdr new))))
                       (cons (cons from old) (remq (assq from sources) sources))))))

(defun chan-admix (mix from)
  "Adds the source FROM."
  (chan-toggle mix from))

(defun chan-unmix (mix from)
  "Removes the source FROM."
  (chan--remix mix (lambda (sources) (remq (assq from sources) sources))))

(defun chan-unmix-all (mix)
  "Removes all sources."
  (chan--remix mix #'ignore))

(defun chan-solo-mode (mix mode)
  "While there are sources with :solo, the others are as if they had MODE: :mute, as at first, or :pause."
  (aset mix 4 mode)
  (chan-put (aref mix 3) t))
