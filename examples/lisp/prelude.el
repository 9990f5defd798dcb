;;; prelude.el --- what of the language is written in itself  -*- lexical-binding: t -*-

;; Read before every program.

;;; Defining things

(defalias '\` (cons 'macro #'backquote--expand))

(defalias 'lambda
  (cons 'macro #'(lambda (&rest def) (list 'function (cons 'lambda def)))))

(defalias 'defmacro
  (cons 'macro
        #'(lambda (name params &rest body)
            `(defalias ',name
               (cons 'macro #'(lambda ,params ,@(prelude--body body)))))))

(defalias 'prelude--body
  ;; BODY without (declare ...) and (interactive ...).
  #'(lambda (body)
      (let ((doc (if (and (stringp (car body)) (cdr body)) (list (car body)))))
        (if doc (setq body (cdr body)))
        (while (and (consp (car body)) (memq (car (car body)) '(declare interactive)))
          (setq body (cdr body)))
        (append doc (or body '(nil))))))

(defmacro defun (name params &rest body)
  `(defalias ',name #'(lambda ,params ,@(prelude--body body))))

(defmacro defsubst (name params &rest body)
  `(defun ,name ,params ,@body))

(defmacro defcustom (name value &rest _)
  `(defvar ,name ,value))

(defmacro defgroup (&rest _) nil)
(defmacro declare (&rest _) nil)
(defmacro declare-function (&rest _) nil)
(defmacro eval-when-compile (&rest body) `(progn ,@body))
(defmacro eval-and-compile (&rest body) `(progn ,@body))
(defmacro with-no-warnings (&rest body) `(progn ,@body))

;;; Control

(defmacro when (test &rest body)
  (list 'if test (cons 'progn body)))

(defmacro unless (test &rest body)
  (cons 'if (cons test (cons nil body))))

(defmacro prog2 (first second &rest body)
  `(progn ,first (prog1 ,second ,@body)))

(defmacro dolist (spec &rest body)
  (let ((tail (make-symbol "tail")))
    `(let ((,tail ,(nth 1 spec)))
       (while ,tail
         (let ((,(car spec) (car ,tail)))
           ,@body
           (setq ,tail (cdr ,tail))))
       ,@(cdr (cdr spec)))))

(defmacro dotimes (spec &rest body)
  (let ((counter (make-symbol "counter")) (limit (make-symbol "limit")))
    `(let ((,counter 0) (,limit ,(nth 1 spec)))
       (while (< ,counter ,limit)
         (let ((,(car spec) ,counter))
           ,@body)
         (setq ,counter (1+ ,counter)))
       ,@(if (cdr (cdr spec))
             `((let ((,(car spec) ,counter)) ,@(cdr (cdr spec))))))))

(defmacro ignore-errors (&rest body)
  `(condition-case nil (progn ,@body) (error nil)))

(defmacro ignore-error (condition &rest body)
  `(condition-case nil (progn ,@body) (,condition nil)))

(defmacro condition-case-unless-debug (var form &rest handlers)
  `(condition-case ,var ,form ,@handlers))

(defmacro with-demoted-errors (format &rest body)
  (let ((err (make-symbol "err")))
    `(condition-case ,err (progn ,@body)
       (error (message ,format ,err) nil))))

(defmacro letrec (bindings &rest body)
  `(let ,(mapcar #'(lambda (b) (if (consp b) (car b) b)) bindings)
     ,@(delq nil (mapcar #'(lambda (b) (if (consp b) (cons 'setq b))) bindings))
     ,@body))

;;; Places

(defmacro push (value place)
  (if (symbolp place)
      `(setq ,place (cons ,value ,place))
    `(setf ,place (cons ,value ,place))))

(defmacro pop (place)
  `(car-safe (prog1 ,place
               ,(if (symbolp place)
                    `(setq ,place (cdr ,place))
                  `(setf ,place (cdr ,place))))))

(defmacro setf (&rest pairs)
  (cons 'progn
        (let (forms)
          (while pairs
            (setq forms (cons (prelude--setf (car pairs) (car (cdr pairs))) forms)
                  pairs (cdr (cdr pairs))))
          (nreverse forms))))

(defun prelude--setf (place value)
  (let* ((f (car-safe place)) (args (cdr-safe place)) (a (car args)) (b (nth 1 args)))
    (cond ((symbolp place) `(setq ,place ,value))
          ((eq f 'car) `(setcar ,a ,value))
          ((eq f 'cdr) `(setcdr ,a ,value))
          ((eq f 'cadr) `(setcar (cdr ,a) ,value))
          ((eq f 'nth) `(setcar (nthcdr ,a ,b) ,value))
          ((memq f '(aref elt)) `(aset ,a ,b ,value))
          ((eq f 'get) `(put ,a ,b ,value))
          ((eq f 'symbol-value) `(set ,a ,value))
          ((eq f 'symbol-function) `(fset ,a ,value))
          ((eq f 'default-value) `(set-default ,a ,value))
          ((eq f 'alist-get)
           (let ((cell (make-symbol "cell")) (new (make-symbol "new")))
             `(let ((,cell (assq ,a ,b)) (,new ,value))
                (if ,cell (setcdr ,cell ,new)
                  (setq ,b (cons (cons ,a ,new) ,b)))
                ,new)))
          (t (error "No setf for `%S'" place)))))

(defmacro cl-incf (place &optional n) `(setf ,place (+ ,place ,(or n 1))))
(defmacro cl-decf (place &optional n) `(setf ,place (- ,place ,(or n 1))))

;;; Variables and buffers

(defmacro setq-local (&rest pairs)
  (let (forms)
    (while pairs
      (setq forms (cons `(set (make-local-variable ',(car pairs)) ,(car (cdr pairs))) forms)
            pairs (cdr (cdr pairs))))
    (cons 'progn (nreverse forms))))

(defmacro setq-default (&rest pairs)
  (let (forms)
    (while pairs
      (setq forms (cons `(set-default ',(car pairs) ,(car (cdr pairs))) forms)
            pairs (cdr (cdr pairs))))
    (cons 'progn (nreverse forms))))

(defmacro defvar-local (name value &optional _doc)
  `(progn (defvar ,name ,value) (make-variable-buffer-local ',name)))

(defmacro with-current-buffer (buffer &rest body)
  `(save-current-buffer (set-buffer ,buffer) ,@body))

(defmacro with-temp-buffer (&rest body)
  (let ((buffer (make-symbol "temp-buffer")))
    `(let ((,buffer (generate-new-buffer " *temp*")))
       (with-current-buffer ,buffer
         (unwind-protect (progn ,@body)
           (and (buffer-name ,buffer) (kill-buffer ,buffer)))))))

(defmacro with-output-to-string (&rest body)
  `(let ((standard-output (generate-new-buffer " *string-output*")))
     (unwind-protect
         (progn
           (let ((standard-output standard-output)) ,@body)
           (with-current-buffer standard-output (buffer-string)))
       (kill-buffer standard-output))))

(defmacro save-match-data (&rest body)
  (let ((data (make-symbol "match-data")))
    `(let ((,data (match-data)))
       (unwind-protect (progn ,@body) (set-match-data ,data)))))

(defun re-search-forward (regexp &optional bound noerror _count)
  (let ((end (or bound (point-max))))
    (cond ((string-match regexp (buffer-substring (point-min) end) (1- (point)))
           (set-match-data (mapcar (lambda (place) (and place (1+ place))) (match-data)))
           (goto-char (match-end 0)))
          (noerror (unless (eq noerror t) (goto-char end)) nil)
          (t (signal 'search-failed (list regexp))))))

;;; Threads

(defmacro with-mutex (mutex &rest body)
  (let ((m (make-symbol "mutex")))
    `(let ((,m ,mutex))
       (mutex-lock ,m)
       (unwind-protect (progn ,@body)
         (mutex-unlock ,m)))))

;;; Sequences and strings

(defun zerop (n) (= n 0))
(defun butlast (list &optional n)
  (let ((keep (- (length list) (or n 1))) result)
    (while (> keep 0)
      (setq result (cons (car list) result) list (cdr list) keep (1- keep)))
    (nreverse result)))
(defun alist-get (key alist &optional default _remove test)
  (let ((cell (if test (assoc key alist test) (assq key alist))))
    (if cell (cdr cell) default)))
(defun assoc-default (key alist &optional _test default)
  (let ((cell (assoc key alist)))
    (if cell (cdr cell) default)))
(defun plist-put (plist property value &optional _)
  (let ((tail plist))
    (while (and tail (not (eq (car tail) property)))
      (setq tail (cdr (cdr tail))))
    (if tail (setcar (cdr tail) value)
      (setq plist (nconc plist (list property value))))
    plist))
(defun seq-filter (pred seq)
  (apply #'append (mapcar #'(lambda (x) (if (funcall pred x) (list x))) seq)))
(defun seq-reduce (f seq initial)
  (mapc #'(lambda (x) (setq initial (funcall f initial x))) seq)
  initial)
(defun string-empty-p (s) (string= s ""))
(defun string-prefix-p (prefix s &optional _ignore-case)
  (and (<= (length prefix) (length s)) (string= prefix (substring s 0 (length prefix)))))
(defun string-suffix-p (suffix s &optional _ignore-case)
  (and (<= (length suffix) (length s)) (string= suffix (substring s (- (length s) (length suffix))))))
(defun string-join (strings &optional separator) (mapconcat #'identity strings separator))
(defun string-to-list (s) (append s nil))
(defun string-trim-left (s) (if (string-match "\\`[ \t\n\r]+" s) (substring s (match-end 0)) s))
(defun string-trim-right (s) (if (string-match "[ \t\n\r]+\\'" s) (substring s 0 (match-beginning 0)) s))
(defun string-trim (s) (string-trim-left (string-trim-right s)))
(defun split-string (s &optional separators omit-nulls)
  (let ((start 0) (from 0) (omit (or omit-nulls (not separators))) parts)
    (setq separators (or separators "[ \f\t\n\r\v]+"))
    (while (and (<= from (length s)) (string-match separators s from))
      (if (and (= (match-end 0) (match-beginning 0)) (= (match-beginning 0) start))
          (setq from (1+ from))
        (setq parts (cons (substring s start (match-beginning 0)) parts)
              start (match-end 0)
              from (if (= (match-end 0) (match-beginning 0)) (1+ start) start))))
    (setq parts (nreverse (cons (substring s start) parts)))
    (if omit (delete "" parts) parts)))

;;; Errors

(let ((define (lambda (name message conditions)
                (put name 'error-conditions (cons name conditions))
                (put name 'error-message message))))
  (funcall define 'error "error" nil)
  (funcall define 'quit "Quit" nil)
  (mapc (lambda (e) (funcall define (car e) (car (cdr e)) (append (cdr (cdr e)) '(error))))
        '((user-error "")
          (wrong-type-argument "Wrong type argument")
          (args-out-of-range "Args out of range")
          (void-function "Symbol's function definition is void")
          (cyclic-function-indirection "Symbol's chain of function indirections contains a loop")
          (cyclic-variable-indirection "Symbol's chain of variable indirections contains a loop")
          (circular-list "List contains a loop")
          (void-variable "Symbol's value as variable is void")
          (setting-constant "Attempt to set a constant symbol")
          (invalid-read-syntax "Invalid read syntax")
          (invalid-function "Invalid function")
          (wrong-number-of-arguments "Wrong number of arguments")
          (no-catch "No catch for tag")
          (end-of-file "End of file during parsing")
          (arith-error "Arithmetic error")
          (range-error "Arithmetic range error" arith-error)
          (overflow-error "Arithmetic overflow error" range-error arith-error)
          (domain-error "Arithmetic domain error" arith-error)
          (beginning-of-buffer "Beginning of buffer")
          (end-of-buffer "End of buffer")
          (buffer-read-only "Buffer is read-only")
          (search-failed "Search failed")
          (invalid-regexp "Invalid regexp")
          (file-error "File error")
          (file-missing "File is missing" file-error)
          (excessive-lisp-nesting "Lisp nesting exceeds `max-lisp-eval-depth'")
          (deadlock "Threads wait for each other")
          (thread-buffer-killed "Thread's current buffer killed")
          (ert-test-failed "Test failed")
          (ert-test-skipped "Test skipped"))))

;;; Tests

(defmacro ert-deftest (name _params &rest body)
  (let (expected)
    (if (and (stringp (car body)) (cdr body)) (setq body (cdr body)))
    (while (keywordp (car body))
      (if (eq (car body) :expected-result) (setq expected (car (cdr body))))
      (setq body (cdr (cdr body))))
    `(ert--define ',name #'(lambda () ,@body) ,expected)))

(defun ert--check (whole form pass otherwise)
  ;; Code that evaluates FORM and then OTHERWISE, unless PASS, code about `value', holds.
  (let ((value (make-symbol "value")) (args (make-symbol "args")) (fn (car-safe form)))
    (if (and fn (symbolp fn) (functionp fn))
        `(let* ((,args (list ,@(cdr form))) (,value (apply #',fn ,args)))
           (if ,(funcall pass value) ,value
             (,otherwise (list ',whole :form (cons ',fn ,args) :value ,value))))
      `(let ((,value ,form))
         (if ,(funcall pass value) ,value
           (,otherwise (list ',whole :form ',form :value ,value)))))))

(defmacro should (form)
  (ert--check `(should ,form) form #'identity 'ert-fail))

(defmacro should-not (form)
  (ert--check `(should-not ,form) form (lambda (value) `(not ,value)) 'ert-fail))

(defmacro skip-unless (form)
  (ert--check `(skip-unless ,form) form #'identity 'ert-skip))

(defmacro should-error (form &rest keys)
  `(ert--should-error '(should-error ,form ,@keys) ',form (lambda () ,form) (list ,@keys)))

(defun ert--should-error (whole form thunk keys)
  (let* (returned value
         (err (condition-case err
                  (progn (setq value (funcall thunk) returned t) nil)
                (error err)))
         (types (plist-get keys :type))
         (conditions (if (plist-get keys :exclude-subtypes) (list (car err))
                       (get (car err) 'error-conditions)))
         fits)
    (if returned
        (ert-fail (list whole :form form :value value
                        :fail-reason "did not signal an error")))
    (dolist (type (if (listp types) types (list types)))
      (if (memq type conditions) (setq fits t)))
    (if (and types (not fits))
        (ert-fail (list whole :form form :condition err
                        :fail-reason
                        "the error signaled did not have the expected type")))
    err))
