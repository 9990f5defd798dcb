;;; crawler.el --- many pages at once, each once  -*- lexical-binding: t -*-

;; The web is made up: pages are numbers, and arithmetic says what they link to.  Each host is a thread that answers one
;; request at a time; one of them is down.  Fetchers take pages from `frontier', and put what they found into `found'; the
;; main thread knows what has been seen, and when there is nothing left to do.

(defvar pages 240)
(defvar host-count 6)

(defun links (page)
  (list (% (+ (* page 7) 3) pages) (% (1+ (* page page)) pages) (/ page 2) (% (+ page 30) pages)))

(defun missing-p (page) (= (% page 17) 16))
(defun host-of (page) (% page host-count))

;; A request is (PAGE . ANSWER), a channel for the links of the page, or `missing'.
(defvar hosts
  (let (hosts)
    (dotimes (i host-count)
      (let ((requests (make-chan 0 :name (format "host %d" i))))
        (if (= i 4)
            (chan-close requests)
          (go (loop-chan requests request
                (sleep-for 0.0005)
                (chan-put (cdr request)
                          (if (missing-p (car request)) 'missing (links (car request)))))))
        (push requests hosts)))
    (nreverse hosts)))

(defun fetch (page)
  "The links of PAGE, or `missing' or `down'."
  (let ((answer (make-chan 1)))
    (if (chan-put (nth (host-of page) hosts) (cons page answer))
        (chan-take answer)
      'down)))

(defun crawl (start fetchers)
  "Everything that START leads to: a vector of what `fetch' said, by page."
  (let ((frontier (make-chan 'unbounded :name "frontier"))
        (found (make-chan 0 :name "found"))
        (seen (make-vector pages nil))
        (waited-for 1)
        ends)
    (dotimes (_ fetchers)
      (push (go (let ((count 0))
                  (loop-chan frontier page
                    (setq count (1+ count))
                    (chan-put found (cons page (fetch page))))
                  count))
            ends))
    (aset seen start 'waited-for)
    (chan-put frontier start)
    (while (> waited-for 0)
      (let* ((result (chan-take found)) (next (cdr result)))
        (setq waited-for (1- waited-for))
        (unless (eq (aref seen (car result)) 'waited-for)
          (error "Page %d came twice" (car result)))
        (aset seen (car result) next)
        (when (listp next)
          (dolist (page next)
            (unless (aref seen page)
              (aset seen page 'waited-for)
              (setq waited-for (1+ waited-for))
              (chan-put frontier page))))))
    (chan-close frontier)
    (let ((fetched (apply #'+ (mapcar #'chan-take ends))))
      (unless (= fetched (length (seq-filter #'identity seen)))
        (error "%d fetched" fetched)))
    seen))

(defun walk (start)
  "The same, by one thread, without hosts."
  (let ((seen (make-vector pages nil)) (todo (list start)))
    (while todo
      (let ((page (pop todo)))
        (unless (aref seen page)
          (aset seen page (cond ((= (host-of page) 4) 'down)
                                ((missing-p page) 'missing)
                                (t (links page))))
          (if (listp (aref seen page))
              (setq todo (append (aref seen page) todo))))))
    seen))

(let* ((seen (crawl 1 12))
       (count (lambda (p) (length (seq-filter p seen)))))
  (princ (format "%d pages fetched, %d missing, %d on a host that is down, %d never linked to\n"
                 (funcall count #'consp)
                 (funcall count (lambda (x) (eq x 'missing)))
                 (funcall count (lambda (x) (eq x 'down)))
                 (funcall count #'null)))
  (unless (equal seen (walk 1))
    (error "One thread finds something else"))
  (mapc #'chan-close hosts)
  (if (chan-put (car hosts) 'late) (error "A closed host took a request")))
