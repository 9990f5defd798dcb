;;; async.el --- channels that feed channels  -*- lexical-binding: t -*-

(defun of (list &optional capacity)
  "A channel with the elements of LIST, then closed."
  (let ((c (make-chan capacity)))
    (onto-chan c list)
    c))

(defun later (chan)
  "A thread that reads all of CHAN."
  (go (chan-to-list chan)))

(defun check (what value expected)
  (princ (format "%s: %S\n" what value))
  (unless (equal value expected)
    (error "%s should be %S" what expected)))

(defun add (list) (apply #'+ list))

;; In and out of lists.
(check "to-list" (chan-to-list (of '(a b nil c))) '(a b nil c))
(let ((c (make-chan 2)))
  (chan-take (onto-chan c '(1 2) t))
  (check "onto-chan, kept open" (list (chan-closed-p c) (chan-take c) (chan-take c)) '(nil 1 2))
  (chan-close c)
  (check "onto-chan, closed before" (chan-to-list (onto-chan c '(1 2))) '(nil)))

;; One to one.
(check "pipe" (chan-to-list (chan-pipe (of '(1 2 3)) (make-chan 1))) '(1 2 3))
(let ((to (make-chan 5)))
  (chan-pipe (of '(1 2)) to t)
  (check "pipe, kept open" (list (chan-take to) (chan-take to) (chan-closed-p to)) '(1 2 nil)))

;; Many to one.
(let ((all (chan-to-list (chan-merge (list (of '(1 2 3)) (of '(10 20 30)) (of nil)) 2))))
  (check "merge" (sort (append all nil) #'<) '(1 2 3 10 20 30))
  (check "merge keeps each order" (seq-filter (lambda (n) (< n 10)) all) '(1 2 3)))

;; One to two.
(let* ((pair (chan-split (lambda (n) (= (% n 2) 0)) (of (number-sequence 1 9))))
       (even (later (car pair)))
       (odd (later (cdr pair))))
  (check "split" (list (chan-take even) (chan-take odd)) '((2 4 6 8) (1 3 5 7 9))))
(let ((pair (chan-split #'integerp (of '(1 a 2 b 3)))))
  (chan-close (cdr pair))
  (check "split, one side closed" (chan-to-list (car pair)) '(1 2 3)))

;; Four threads, and still in order.
(let* ((to (make-chan))
       (slow (lambda (n) (sleep-for (if (= (% n 3) 0) 0.002 0)) (* n n))))
  (chan-pipeline 4 to slow (of (number-sequence 1 20)))
  (check "pipeline" (chan-to-list to) (mapcar (lambda (n) (* n n)) (number-sequence 1 20))))
(let ((to (make-chan)))
  (chan-pipeline 2 to (lambda (n) (/ 12 n)) (of '(3 0 4 0 6)))
  (check "pipeline, errors left out" (chan-to-list to) '(4 3 2)))
(let ((to (make-chan)))
  (chan-pipeline 2 to (lambda (n) (/ 12 n)) (of '(3 0 4)) nil #'car)
  (check "pipeline, errors in place" (chan-to-list to) '(4 arith-error 3)))
(let* ((from (make-chan)) (to (make-chan)) (n 0)
       (source (go (while (chan-put from (setq n (1+ n)))))))
  (chan-pipeline 3 to #'1+ from)
  (check "pipeline, cut off" (list (chan-take to) (chan-take to)) '(2 3))
  (chan-close to)
  (chan-close from)
  (chan-take source)
  (if (> n 50) (error "The source ran ahead to %d" n)))

;; Each value to many.  The two readers take turns in different orders: the mult waits for both, in no order.
(let* ((from (make-chan)) (mult (chan-mult from))
       (a (chan-tap mult (make-chan))) (b (chan-tap mult (make-chan))) seen)
  (onto-chan from '(1 2 3 4))
  (dotimes (i 4)
    (dolist (c (if (= (% i 2) 0) (list a b) (list b a)))
      (push (chan-take c) seen)))
  (check "mult" (nreverse seen) '(1 1 2 2 3 3 4 4))
  (check "mult, the end" (list (chan-take a 'end) (chan-take b 'end)) '(end end))
  (check "a tap after the end" (chan-take (chan-tap mult (make-chan)) 'end) 'end))
(let* ((from (make-chan)) (mult (chan-mult from))
       (stays (chan-tap mult (make-chan 9) t)) (goes (chan-tap mult (make-chan 9)))
       (dies (chan-tap mult (make-chan 9))))
  (chan-put from 1)
  (while (< (+ (chan-len stays) (chan-len goes) (chan-len dies)) 3) (thread-yield))
  (chan-untap mult goes)
  (chan-close dies)
  (chan-put from 2)
  (while (< (chan-len stays) 2) (thread-yield))
  (chan-close from)
  (check "untap" (list (chan-len stays) (chan-len goes) (chan-closed-p goes) (chan-to-list dies))
         '(2 1 nil (1))))

;; By topic.
(let* ((from (make-chan))
       (pub (chan-pub from (lambda (v) (cond ((integerp v) 'number) ((stringp v) 'text)))))
       (numbers (later (chan-sub pub 'number (make-chan))))
       (again (later (chan-sub pub 'number (make-chan))))
       (texts (later (chan-sub pub 'text (make-chan))))
       (left (make-chan 9)))
  (chan-sub pub 'text left)
  (chan-put from "first")
  (while (= (chan-len left) 0) (thread-yield))
  (chan-unsub pub 'text left)
  (chan-take (onto-chan from '(1 "a" lost 2 "b")))
  (check "pub" (mapcar #'chan-take (list numbers again texts)) '((1 2) (1 2) ("first" "a" "b")))
  (check "unsub" (list (chan-len left) (chan-closed-p left)) '(1 nil))
  (check "sub after the end" (chan-take (chan-sub pub 'number (make-chan)) 'end) 'end)
  (check "sub of a new topic after the end" (chan-take (chan-sub pub 'new (make-chan)) 'end) 'end))

;; All at once: a merge of two sources, doubled by four threads, given to three that add up.
(let* ((sources (list (of (number-sequence 1 50)) (of (number-sequence 51 100))))
       (doubled (make-chan 4))
       (mult (chan-mult doubled))
       (sums (mapcar (lambda (c) (later (chan-tap mult c))) (list (make-chan) (make-chan 1) (make-chan 'unbounded)))))
  (chan-pipeline 4 doubled (lambda (n) (* 2 n)) (chan-merge sources))
  (check "all" (mapcar (lambda (c) (add (chan-take c))) sums) '(10100 10100 10100)))
