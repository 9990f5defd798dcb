//! Emacs regular expressions: read into a tree, turned into a program for a backtracking
//! machine whose stack is on the heap.

use crate::value::{Res, Value, signal};

pub struct Regex {
    program: Vec<Op>,
    groups: usize,
    loops: usize,
    fold: bool,
}

/// Start and end of the match and of each group, in bytes.
pub type Groups = Vec<Option<(usize, usize)>>;

enum Op {
    Char(char),
    Any,
    Set(Set),
    Look(Look),
    Save(usize),
    Back(usize),
    /// Try the first, later the second.
    Split(usize, usize),
    Jump(usize),
    /// Notes where a round of loop N begins.
    Enter(usize),
    /// Leaves the loop, to the place given, if the round did not move.
    Progress(usize, usize),
    Match,
}

#[derive(Clone, Copy)]
enum Look {
    LineStart,
    LineEnd,
    TextStart,
    TextEnd,
    WordEdge,
    NoWordEdge,
    WordStart,
    WordEnd,
    SymbolStart,
    SymbolEnd,
}

#[derive(Clone, Default)]
struct Set {
    negated: bool,
    ranges: Vec<(char, char)>,
    classes: Vec<fn(char) -> bool>,
}

#[derive(Clone)]
enum Tree {
    Char(char),
    Any,
    Set(Set),
    Look(Look),
    Back(usize),
    Group(Option<usize>, Box<Tree>),
    Seq(Vec<Tree>),
    Either(Vec<Tree>),
    Repeat { tree: Box<Tree>, min: usize, max: Option<usize>, greedy: bool },
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric()
}

fn is_symbol(c: char) -> bool {
    is_word(c) || "_-+*/&|<>=!$%:?@^~.".contains(c)
}

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\x0c')
}

fn fold_char(c: char) -> char {
    let mut lower = c.to_lowercase();
    match (lower.next(), lower.next()) {
        (Some(l), None) => l,
        _ => c,
    }
}

fn upper_char(c: char) -> char {
    let mut upper = c.to_uppercase();
    match (upper.next(), upper.next()) {
        (Some(u), None) => u,
        _ => c,
    }
}

struct Parser {
    text: Vec<char>,
    at: usize,
    groups: usize,
}

fn invalid<T>(why: &str) -> Res<T> {
    signal("invalid-regexp", [Value::str(why)])
}

impl Parser {
    fn looking_at(&self, s: &str) -> bool {
        let rest = &self.text[self.at..];
        s.chars().enumerate().all(|(i, c)| rest.get(i) == Some(&c))
    }

    fn eat(&mut self, s: &str) -> bool {
        let found = self.looking_at(s);
        if found {
            self.at += s.chars().count();
        }
        found
    }

    fn either(&mut self, depth: usize) -> Res<Tree> {
        if depth > 200 {
            return invalid("Regular expression too big");
        }
        let mut branches = vec![self.sequence(depth)?];
        while self.eat("\\|") {
            branches.push(self.sequence(depth)?);
        }
        Ok(match branches.len() {
            1 => branches.remove(0),
            _ => Tree::Either(branches),
        })
    }

    fn sequence(&mut self, depth: usize) -> Res<Tree> {
        let mut items: Vec<Tree> = Vec::new();
        // Operators at the start of a branch stand for themselves.
        let mut repeatable = false;
        while self.at < self.text.len() && !self.looking_at("\\|") && !self.looking_at("\\)") {
            let c = self.text[self.at];
            if repeatable && (matches!(c, '*' | '+' | '?') || self.looking_at("\\{")) {
                let tree = items.pop().expect("there is something to repeat");
                items.push(self.repeat(tree)?);
                continue;
            }
            let item = self.item(items.is_empty(), depth)?;
            repeatable = !matches!(item, Tree::Look(Look::LineStart));
            items.push(item);
        }
        Ok(Tree::Seq(items))
    }

    /// Reads an operator behind `tree`. Several in a row are one, as in Emacs.
    fn repeat(&mut self, tree: Tree) -> Res<Tree> {
        let tree = Box::new(tree);
        if self.eat("\\{") {
            let (min, max) = self.bounds()?;
            return Ok(Tree::Repeat { tree, min, max, greedy: true });
        }
        let (mut none, mut many, mut greedy) = (false, false, true);
        while let Some(c @ ('*' | '+' | '?')) = self.text.get(self.at) {
            if *c == '?' && (none || many) {
                greedy = false;
            } else {
                none |= *c != '+';
                many |= *c != '?';
            }
            self.at += 1;
        }
        let (min, max) = (usize::from(!none), if many { None } else { Some(1) });
        Ok(Tree::Repeat { tree, min, max, greedy })
    }

    /// `m\}`, `m,\}`, `,n\}` or `m,n\}`.
    fn bounds(&mut self) -> Res<(usize, Option<usize>)> {
        let min = self.number();
        let max = match self.eat(",") {
            true => self.number(),
            false => Some(min.unwrap_or(0)),
        };
        if !self.eat("\\}") {
            return invalid(match self.at == self.text.len() {
                true => "Unmatched \\{",
                false => "Invalid content of \\{\\}",
            });
        }
        let min = min.unwrap_or(0);
        if min > 65535 || max.is_some_and(|max| max < min || max > 65535) {
            return invalid("Invalid content of \\{\\}");
        }
        Ok((min, max))
    }

    fn number(&mut self) -> Option<usize> {
        let mut n = None;
        while let Some(d) = self.text.get(self.at).and_then(|c| c.to_digit(10)) {
            n = Some((n.unwrap_or(0usize) * 10 + d as usize).min(1_000_000));
            self.at += 1;
        }
        n
    }

    fn item(&mut self, first: bool, depth: usize) -> Res<Tree> {
        let c = self.text[self.at];
        self.at += 1;
        Ok(match c {
            '.' => Tree::Any,
            '[' => self.set()?,
            '^' if first => Tree::Look(Look::LineStart),
            '$' if self.at == self.text.len()
                || self.looking_at("\\)")
                || self.looking_at("\\|") =>
            {
                Tree::Look(Look::LineEnd)
            }
            '\\' => self.escape(depth)?,
            c => Tree::Char(c),
        })
    }

    fn escape(&mut self, depth: usize) -> Res<Tree> {
        let Some(&c) = self.text.get(self.at) else {
            return invalid("Trailing backslash");
        };
        self.at += 1;
        let class = |negated, class: fn(char) -> bool| {
            Tree::Set(Set { negated, ranges: Vec::new(), classes: vec![class] })
        };
        Ok(match c {
            '(' => {
                let group = if self.eat("?:") {
                    None
                } else if self.eat("?") {
                    let n = self.number();
                    if n.is_none() || !self.eat(":") {
                        return invalid("Invalid regular expression");
                    }
                    self.groups = self.groups.max(n.unwrap_or(0));
                    n
                } else {
                    self.groups += 1;
                    Some(self.groups)
                };
                let inner = self.either(depth + 1)?;
                if !self.eat("\\)") {
                    return invalid("Unmatched ( or \\(");
                }
                Tree::Group(group, Box::new(inner))
            }
            'w' => class(false, is_word),
            'W' => class(true, is_word),
            's' | 'S' => {
                let kind = self.text.get(self.at).copied();
                self.at += 1;
                let test: fn(char) -> bool = match kind {
                    Some('-' | ' ') => is_space,
                    Some('w') => is_word,
                    Some('_') => |c| is_symbol(c) && !is_word(c),
                    Some('.') => |c| c.is_ascii_punctuation() && !is_symbol(c),
                    Some('(') => |c| "([{".contains(c),
                    Some(')') => |c| ")]}".contains(c),
                    Some('"') => |c| c == '"',
                    _ => return invalid("Invalid syntax designator"),
                };
                class(c == 'S', test)
            }
            'b' => Tree::Look(Look::WordEdge),
            'B' => Tree::Look(Look::NoWordEdge),
            '<' => Tree::Look(Look::WordStart),
            '>' => Tree::Look(Look::WordEnd),
            '_' if self.eat("<") => Tree::Look(Look::SymbolStart),
            '_' if self.eat(">") => Tree::Look(Look::SymbolEnd),
            '`' => Tree::Look(Look::TextStart),
            '\'' => Tree::Look(Look::TextEnd),
            '1'..='9' => {
                let n = c as usize - '0' as usize;
                if n > self.groups {
                    return invalid("Invalid back reference");
                }
                Tree::Back(n)
            }
            c => Tree::Char(c),
        })
    }

    fn set(&mut self) -> Res<Tree> {
        let mut set = Set { negated: self.eat("^"), ..Set::default() };
        let start = self.at;
        loop {
            let Some(&c) = self.text.get(self.at) else {
                return invalid("Unmatched [ or [^");
            };
            self.at += 1;
            if c == ']' && self.at > start + 1 {
                return Ok(Tree::Set(set));
            }
            if c == '[' && self.looking_at(":") && self.class(&mut set)? {
                continue;
            }
            let is_range = self.looking_at("-") && self.text.get(self.at + 1) != Some(&']');
            match self.text.get(self.at + 1) {
                Some(&end) if is_range => {
                    self.at += 2;
                    set.ranges.push((c, end));
                }
                _ => set.ranges.push((c, c)),
            }
        }
    }

    /// `[:NAME:]` inside a set, whose `[` has been read. False: it is not one.
    fn class(&mut self, set: &mut Set) -> Res<bool> {
        let rest: String = self.text[self.at + 1..].iter().collect();
        let Some((name, _)) = rest.split_once(":]") else {
            return Ok(false);
        };
        if !name.chars().all(|c| c.is_ascii_alphabetic()) {
            return Ok(false);
        }
        let test: fn(char) -> bool = match name {
            "alpha" => char::is_alphabetic,
            "alnum" => char::is_alphanumeric,
            "digit" => |c| c.is_ascii_digit(),
            "xdigit" => |c| c.is_ascii_hexdigit(),
            "space" => is_space,
            "blank" => |c| matches!(c, ' ' | '\t' | '\u{a0}'),
            "upper" => char::is_uppercase,
            "lower" => char::is_lowercase,
            "word" => is_word,
            "punct" => |c| match c.is_ascii() {
                true => c.is_ascii_punctuation(),
                false => !is_word(c),
            },
            "cntrl" => char::is_control,
            "graph" => |c| c > ' ' && c != '\x7f',
            "print" => |c| c >= ' ' && c != '\x7f',
            "ascii" => |c| c.is_ascii(),
            "nonascii" | "multibyte" => |c| !c.is_ascii(),
            "unibyte" => |c| c.is_ascii(),
            _ => return invalid("Invalid character class name"),
        };
        self.at += name.len() + 3;
        set.classes.push(test);
        Ok(true)
    }
}

impl Set {
    fn has(&self, c: char, fold: bool) -> bool {
        let within = |c: char| self.ranges.iter().any(|&(a, b)| a <= c && c <= b);
        let class = |c: char| self.classes.iter().any(|class| class(c));
        let found = if fold {
            let (lower, upper) = (fold_char(c), upper_char(c));
            within(c) || within(lower) || within(upper) || class(c) || class(lower) || class(upper)
        } else {
            within(c) || class(c)
        };
        found != self.negated
    }
}

impl Regex {
    pub fn new(source: &str, fold: bool) -> Res<Regex> {
        let mut parser = Parser { text: source.chars().collect(), at: 0, groups: 0 };
        let tree = parser.either(0)?;
        if parser.at < parser.text.len() {
            return invalid("Unmatched ) or \\)");
        }
        let mut regex = Regex { program: Vec::new(), groups: parser.groups + 1, loops: 0, fold };
        regex.emit(&Tree::Group(Some(0), Box::new(tree)))?;
        regex.program.push(Op::Match);
        Ok(regex)
    }

    fn emit(&mut self, tree: &Tree) -> Res<()> {
        if self.program.len() > 200_000 {
            return invalid("Regular expression too big");
        }
        match tree {
            Tree::Char(c) if self.fold => self.program.push(Op::Char(fold_char(*c))),
            Tree::Char(c) => self.program.push(Op::Char(*c)),
            Tree::Any => self.program.push(Op::Any),
            Tree::Set(set) => self.program.push(Op::Set(set.clone())),
            Tree::Look(look) => self.program.push(Op::Look(*look)),
            Tree::Back(n) => self.program.push(Op::Back(*n)),
            Tree::Group(None, tree) => self.emit(tree)?,
            Tree::Group(Some(n), tree) => {
                self.program.push(Op::Save(2 * n));
                self.emit(tree)?;
                self.program.push(Op::Save(2 * n + 1));
            }
            Tree::Seq(items) => {
                for item in items {
                    self.emit(item)?;
                }
            }
            Tree::Either(branches) => {
                let mut jumps = Vec::new();
                let (last, others) = branches.split_last().expect("an alternative has branches");
                for branch in others {
                    let split = self.hole();
                    self.emit(branch)?;
                    jumps.push(self.hole());
                    self.program[split] = Op::Split(split + 1, self.program.len());
                }
                self.emit(last)?;
                for jump in jumps {
                    self.program[jump] = Op::Jump(self.program.len());
                }
            }
            Tree::Repeat { tree, min, max, greedy } => {
                for _ in 0..*min {
                    self.emit(tree)?;
                }
                match max {
                    None => self.emit_loop(tree, *greedy)?,
                    Some(max) => {
                        let mut splits = Vec::new();
                        for _ in *min..*max {
                            splits.push(self.hole());
                            self.emit(tree)?;
                        }
                        for split in splits {
                            self.split(split, *greedy);
                        }
                    }
                }
            }
        }
        Ok(())
    }

    fn emit_loop(&mut self, tree: &Tree, greedy: bool) -> Res<()> {
        let id = self.loops;
        self.loops += 1;
        let split = self.hole();
        self.program.push(Op::Enter(id));
        self.emit(tree)?;
        let end = self.program.len() + 2;
        self.program.push(Op::Progress(id, end));
        self.program.push(Op::Jump(split));
        self.split(split, greedy);
        Ok(())
    }

    fn hole(&mut self) -> usize {
        self.program.push(Op::Match);
        self.program.len() - 1
    }

    /// Makes `at` a choice between what follows it and the end of the program so far.
    fn split(&mut self, at: usize, greedy: bool) {
        let end = self.program.len();
        self.program[at] = match greedy {
            true => Op::Split(at + 1, end),
            false => Op::Split(end, at + 1),
        };
    }

    /// The first match at or after byte `from`.
    pub fn search(&self, text: &str, from: usize) -> Option<Groups> {
        let first = match self.program.get(1) {
            Some(Op::Char(c)) => Some(*c),
            _ => None,
        };
        let mut at = from;
        loop {
            let next = text[at..].chars().next();
            let hopeless = match (first, next) {
                (Some(want), Some(c)) => want != c && (!self.fold || want != fold_char(c)),
                (Some(_), None) => true,
                (None, _) => false,
            };
            if !hopeless && let Some(groups) = self.match_at(text, at) {
                return Some(groups);
            }
            at += next?.len_utf8();
        }
    }

    fn match_at(&self, text: &str, start: usize) -> Option<Groups> {
        /// What to undo, and where to go on.
        enum Undo {
            Try(usize, usize),
            Slot(usize, Option<usize>),
            Loop(usize, usize),
        }
        let mut slots = vec![None; 2 * self.groups];
        let mut rounds = vec![usize::MAX; self.loops];
        let mut stack = Vec::new();
        let (mut pc, mut at) = (0, start);
        loop {
            let here = || text[at..].chars().next();
            let step = match &self.program[pc] {
                Op::Char(want) => match here() {
                    Some(c) if c == *want || (self.fold && fold_char(c) == *want) => {
                        at += c.len_utf8();
                        true
                    }
                    _ => false,
                },
                Op::Any => match here() {
                    Some(c) if c != '\n' => {
                        at += c.len_utf8();
                        true
                    }
                    _ => false,
                },
                Op::Set(set) => match here() {
                    Some(c) if set.has(c, self.fold) => {
                        at += c.len_utf8();
                        true
                    }
                    _ => false,
                },
                Op::Look(look) => look.holds(text, at),
                Op::Save(n) => {
                    stack.push(Undo::Slot(*n, slots[*n]));
                    slots[*n] = Some(at);
                    true
                }
                Op::Back(n) => match (slots[2 * n], slots[2 * n + 1]) {
                    (Some(a), Some(b)) => match same_prefix(&text[a..b], &text[at..], self.fold) {
                        Some(length) => {
                            at += length;
                            true
                        }
                        None => false,
                    },
                    _ => false,
                },
                Op::Split(first, second) => {
                    stack.push(Undo::Try(*second, at));
                    pc = *first;
                    continue;
                }
                Op::Jump(to) => {
                    pc = *to;
                    continue;
                }
                Op::Enter(id) => {
                    stack.push(Undo::Loop(*id, rounds[*id]));
                    rounds[*id] = at;
                    true
                }
                Op::Progress(id, end) if rounds[*id] == at => {
                    pc = *end;
                    continue;
                }
                Op::Progress(..) => true,
                Op::Match => {
                    let pairs = slots.chunks(2);
                    return Some(pairs.map(|p| Some((p[0]?, p[1]?))).collect());
                }
            };
            if step {
                pc += 1;
                continue;
            }
            loop {
                match stack.pop()? {
                    Undo::Slot(n, old) => slots[n] = old,
                    Undo::Loop(id, old) => rounds[id] = old,
                    Undo::Try(to, from) => {
                        (pc, at) = (to, from);
                        break;
                    }
                }
            }
        }
    }
}

/// How many bytes of `text` match all of `wanted`.
fn same_prefix(wanted: &str, text: &str, fold: bool) -> Option<usize> {
    let mut rest = text.chars();
    let mut length = 0;
    for w in wanted.chars() {
        let c = rest.next()?;
        if c != w && !(fold && fold_char(c) == fold_char(w)) {
            return None;
        }
        length += c.len_utf8();
    }
    Some(length)
}

impl Look {
    fn holds(self, text: &str, at: usize) -> bool {
        let before = text[..at].chars().next_back();
        let after = text[at..].chars().next();
        let word_before = before.is_some_and(is_word);
        let word_after = after.is_some_and(is_word);
        match self {
            Look::LineStart => before.is_none_or(|c| c == '\n'),
            Look::LineEnd => after.is_none_or(|c| c == '\n'),
            Look::TextStart => before.is_none(),
            Look::TextEnd => after.is_none(),
            Look::WordEdge => word_before != word_after || before.is_none() || after.is_none(),
            Look::NoWordEdge => word_before == word_after && before.is_some() && after.is_some(),
            Look::WordStart => !word_before && word_after,
            Look::WordEnd => word_before && !word_after,
            Look::SymbolStart => !before.is_some_and(is_symbol) && after.is_some_and(is_symbol),
            Look::SymbolEnd => before.is_some_and(is_symbol) && !after.is_some_and(is_symbol),
        }
    }
}
