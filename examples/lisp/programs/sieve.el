;;; sieve.el --- prime numbers by a chain of threads  -*- lexical-binding: t -*-

;; Each prime has a thread that lets pass what it does not divide.  No channel has room: a number is handed from thread to
;; thread.  When enough primes are found, closing the last channel ends the whole chain, from its end to its source.

(defvar ends nil "What the threads of the chain return.")

(defun numbers-from (n)
  (let ((out (make-chan 0 :name "numbers")))
    (push (go (while (chan-put out n)
                (setq n (1+ n)))
              'source)
          ends)
    out))

(defun without-multiples (prime in)
  (let ((out (make-chan 0 :name (format "not of %d" prime))))
    (push (go (let ((open t))
                (while open
                  (let ((n (chan-take in)))
                    (unless (= (% n prime) 0)
                      (setq open (chan-put out n)))))
                (chan-close in)
                prime))
          ends)
    out))

(let ((chan (numbers-from 2)) (count 60) primes)
  (dotimes (_ count)
    (let ((prime (chan-take chan)))
      (push prime primes)
      (setq chan (without-multiples prime chan))))
  (chan-close chan)
  (setq primes (nreverse primes))
  (princ (format "%S\n" primes))
  (dolist (n primes)
    (dolist (p primes)
      (if (and (< p n) (= (% n p) 0))
          (error "%d divides %d" p n))))
  (unless (and (= (length primes) count) (= (car (last primes)) 281))
    (error "These are not the first primes"))
  (let ((ended (mapcar #'chan-take (nreverse ends))))
    (unless (equal ended (cons 'source primes))
      (error "Threads of the chain: %S" ended)))
  (princ (format "%d threads ended\n" (1+ count))))
