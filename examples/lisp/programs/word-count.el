;;; word-count.el --- count the words of a text in parallel  -*- lexical-binding: t -*-

(require 'thread)

(defvar vocabulary ["loom" "warp" "weft" "thread" "selvedge" "shuttle" "heddle" "bobbin"])

(defun make-text (words seed)
  "A text of WORDS words, the same each time."
  (let (parts)
    (dotimes (i words)
      (setq seed (% (+ (* seed 1103) 12345) 65536))
      (push (aref vocabulary (% (/ seed 7) (length vocabulary))) parts)
      (push (if (= (% i 11) 10) ".\n" " ") parts))
    (apply #'concat (nreverse parts))))

(defun count-words (text)
  "An alist of the words in TEXT and how often each occurs."
  (let ((start 0) counts)
    (while (string-match "[a-z]+" text start)
      (let* ((word (substring text (match-beginning 0) (match-end 0)))
             (cell (assoc word counts)))
        (setq start (match-end 0))
        (if cell
            (setcdr cell (1+ (cdr cell)))
          (push (cons word 1) counts))))
    counts))

(defun merge-counts (into from)
  (dolist (entry from into)
    (let ((cell (assoc (car entry) into)))
      (if cell
          (setcdr cell (+ (cdr cell) (cdr entry)))
        (push (cons (car entry) (cdr entry)) into)))))

(defun sorted (counts)
  (sort (append counts nil) (lambda (a b) (string< (car a) (car b)))))

(let* ((texts (mapcar (lambda (seed) (make-text 3000 seed)) '(1 2 3 4)))
       (start (float-time))
       (alone (let (all) (dolist (text texts all) (setq all (merge-counts all (count-words text))))))
       (middle (float-time))
       (threads (mapcar (lambda (text) (make-thread (lambda () (count-words text)))) texts))
       (together (let (all)
                   (dolist (thread threads all)
                     (setq all (merge-counts all (thread-join thread))))))
       (end (float-time)))
  (message "one thread: %.3f s, four threads: %.3f s" (- middle start) (- end middle))
  (dolist (entry (sorted together))
    (princ (format "%-10s %5d\n" (car entry) (cdr entry))))
  (unless (equal (sorted together) (sorted alone))
    (error "The threads counted otherwise"))
  (let ((total (apply #'+ (mapcar #'cdr (sorted together)))))
    (princ (format "%-10s %5d\n" "total" total))
    (unless (= total 12000)
      (error "Words got lost"))))
