;;; buffer-search.el --- buffers searched in another thread, over channels  -*- lexical-binding: t -*-

(defun buffer-with (name text)
  (with-current-buffer (get-buffer-create name)
    (insert text)
    (goto-char (point-min))
    (current-buffer)))

;; A thread that takes (BUFFER . REGEXP) and puts what comes behind the match, or nil.
(let ((queries (chan 0 :name "queries"))
      (results (chan 0 :name "results"))
      (notes (buffer-with "notes" "warp and weft, foo: 12345, bar\n"))
      (more (buffer-with "more" "nothing here\nbut foo=98765\n"))
      (mine (current-buffer))
      searcher answers)
  (setq searcher
        (go (let ((count 0))
              (loop-chan queries message
                (let ((buffer (car message)) (string (cdr message)))
                  (chan-put results
                            (with-current-buffer buffer
                              (save-excursion
                                (if (re-search-forward string nil t)
                                    (buffer-substring (point) (+ 5 (point)))))))
                  (setq count (1+ count))))
              (chan-close results)
              count)))
  (chan-put queries (cons notes "foo: "))
  ;; Meanwhile this thread does something else, in a buffer that nobody searches: point belongs to the buffer.
  (with-temp-buffer
    (insert "foo: 54321")
    (goto-char (point-min)))
  (push (chan-take results) answers)
  (chan-put queries (cons more "fo+="))
  (push (chan-take results) answers)
  (chan-put queries (cons more "foo: "))
  (push (chan-take results 'closed) answers)
  (chan-close queries)
  (push (chan-take results 'closed) answers)
  (setq answers (nreverse answers))
  (princ (format "%S, %d queries\n" answers (chan-take searcher)))
  (unless (and (equal answers '("12345" "98765" nil closed))
               (eq (current-buffer) mine)
               (equal (with-current-buffer more (point)) 1))
    (error "Wrong answers")))

;; A letter for every buffer.
(let* ((c (chan))
       (buffers (mapcar (lambda (n) (buffer-with (format "buffer %d" n) "")) (number-sequence 1 20)))
       (threads (mapcar (lambda (_)
                          (go (loop-chan c buffer
                                (with-current-buffer buffer
                                  (insert "a")))))
                        '(1 2 3))))
  (dolist (buffer buffers)
    (chan-put c buffer))
  (chan-close c)
  (mapc #'chan-take threads)
  (dolist (buffer buffers)
    (unless (equal (with-current-buffer buffer (buffer-string)) "a")
      (error "%S was left out" buffer)))
  (princ (format "%d buffers\n" (length buffers))))
