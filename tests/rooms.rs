//! The import law of `docs/ARCHITECTURE.md`, read from the sources.
//!
//! A scanner, not a parser: comments and literals are blanked, the rest is cut into names and marks, and every path
//! is looked at, in `use` trees and in code alike. It holds for `#[cfg(test)]` modules too.

use std::fs;
use std::path::Path;

/// The floor of each room. A room is the file `room.rs` or all of the folder `room/`.
const FLOORS: &[(&str, u8)] = &[
    ("shim", 1),
    ("id", 1),
    ("error", 1),
    ("park", 2),
    ("thread", 3),
    ("deadlock", 4),
    ("failure", 4),
    ("wait", 4),
    ("mutex", 5),
    ("channel", 5),
    ("promise", 6),
    ("isolate", 7),
    ("join", 5),
    ("spawn", 5),
    ("condvar", 6),
    ("model", 6),
    ("lib", 8),
];

/// Imports along a floor that are allowed, `(importer, imported)`: never both ways.
const BESIDE: &[(&str, &str)] =
    &[("id", "shim"), ("error", "shim"), ("error", "id"), ("wait", "deadlock")];

/// The room that alone may name what the model checker replaces.
const SHIM: &str = "shim";
/// The only caller of a sleep; `SHIM` and `park` define it.
const SLEEPERS: &[&str] = &["shim", "park", "wait"];
/// Names that exist for sleeping only. `park` is a room as well, so only its calls count.
const SLEEPS: &[&str] = &["park_until", "park_timeout", "futex_wait", "nap"];

const STD: &[&str] = &["std", "core", "alloc"];
const MOST_LINES: usize = 700;

/// Every breach of the law in `files`, which are `(path from the crate's root, text)`.
fn violations(files: &[(&str, &str)]) -> Vec<String> {
    let mut found = Vec::new();
    for &(path, text) in files {
        let room = room_of(path);
        let lines = text.lines().count();
        let readme = room == "lib" && text.starts_with("#![doc = include_str!(");
        if !text.starts_with("//!") && !readme {
            found.push(format!("{path}:1: header: the file must start with `//!`"));
        }
        if lines > MOST_LINES {
            found.push(format!(
                "{path}:{lines}: length: more than {MOST_LINES} lines; look for the second protocol"
            ));
        }
        let Some(floor) = floor_of(room) else {
            found.push(format!("{path}:1: floor: `{room}` has no floor in tests/rooms.rs"));
            continue;
        };
        let source = blank(text);
        let tokens = tokens(&source);
        let home = module_of(path);
        let mut report = |line: usize, rule: &str, what: String| {
            found.push(format!("{path}:{line}: {rule}: {what}"));
        };
        for p in paths(&tokens) {
            if let Some(to) = imported(&p, &home).filter(|to| !may_import(room, floor, to)) {
                report(p.line, "import", refusal(room, floor, to));
            }
            if let Some(what) = behind_the_shim(&p).filter(|_| room != SHIM) {
                report(p.line, "shim", what);
            }
            if p.names.ends_with(&["thread", "sleep"]) && !SLEEPERS.contains(&room) {
                let what = "`thread::sleep`, but only `wait` sleeps";
                report(p.line, "sleep", what.into());
            }
        }
        for (i, &Token { text, line }) in tokens.iter().enumerate() {
            let next = text_at(&tokens, i + 1);
            if (text == "loom" || text == "extern" && next == "crate") && room != SHIM {
                let what = format!("only src/shim names loom or an extern crate: `{text} {next}`");
                report(line, "shim", what);
            }
            let calls_park = text == "park" && next == "(";
            if (calls_park || SLEEPS.contains(&text)) && !SLEEPERS.contains(&room) {
                report(line, "sleep", format!("`{text}`, but only `wait` sleeps"));
            }
        }
    }
    found.dedup();
    found
}

fn floor_of(room: &str) -> Option<u8> {
    FLOORS.iter().find(|(name, _)| *name == room).map(|&(_, floor)| floor)
}

fn may_import(from: &str, floor: u8, to: &str) -> bool {
    from == to || floor_of(to).is_some_and(|f| f < floor) || BESIDE.contains(&(from, to))
}

fn refusal(from: &str, floor: u8, to: &str) -> String {
    let below = floor_of(to).expect("`imported` answers with rooms that have a floor");
    let why = if to == "lib" {
        "nobody imports the front door: name the room"
    } else if below == floor {
        "rooms of one floor do not import each other"
    } else {
        "imports go strictly down"
    };
    format!("{from} (floor {floor}) names {to} (floor {below}); {why}")
}

/// `src/park/node.rs` -> `park`.
fn room_of(path: &str) -> &str {
    let inside = path.strip_prefix("src/").unwrap_or(path);
    inside.split('/').next().and_then(|first| first.split('.').next()).unwrap_or(inside)
}

/// `src/park/node.rs` -> `[park, node]`, `src/park/mod.rs` -> `[park]`, `src/lib.rs` -> `[]`.
fn module_of(path: &str) -> Vec<&str> {
    let inside = path.strip_prefix("src/").unwrap_or(path);
    let inside = inside.strip_suffix(".rs").unwrap_or(inside);
    let mut module: Vec<&str> = inside.split('/').collect();
    if matches!(module.last(), Some(&"mod" | &"lib")) {
        module.pop();
    }
    module
}

/// The room that a path leads to, if it starts from this crate. What is no room's name belongs to `lib`.
fn imported<'a>(path: &Found<'a>, home: &[&'a str]) -> Option<&'a str> {
    let mut module: Vec<&str> = home.iter().chain(&path.inside).copied().collect();
    let mut rest = path.names.iter().copied().peekable();
    match rest.next()? {
        "crate" => module.clear(),
        "self" => {}
        "super" => drop(module.pop()),
        _ => return None,
    }
    while rest.next_if_eq(&"super").is_some() {
        module.pop();
    }
    if path.names.len() == 1 && !path.renamed {
        return None; // `pub(crate)`, a receiver
    }
    module.extend(rest);
    Some(module.first().copied().filter(|first| floor_of(first).is_some()).unwrap_or("lib"))
}

/// Why a path names something that only the shim may name.
fn behind_the_shim(path: &Found<'_>) -> Option<String> {
    let names = &path.names;
    let root = names.first().filter(|first| STD.contains(first))?;
    let whole =
        |rest: &[&str]| matches!(rest, ["*" | "self", ..]) || rest.is_empty() && path.renamed;
    match &names[1..] {
        ["sync" | "thread", ..] => Some(format!("only src/shim names `{root}::{}`", names[1])),
        ["cell", "UnsafeCell", ..] => {
            Some(format!("only src/shim names `{root}::cell::UnsafeCell`"))
        }
        ["cell", rest @ ..] if rest.is_empty() || whole(rest) => {
            Some(format!("`{root}::cell` as a whole hides `UnsafeCell`: name the cell"))
        }
        rest if whole(rest) => {
            Some(format!("`{root}` as a whole hides `{root}::sync`: name the item"))
        }
        _ => None,
    }
}

/// One name or one mark of a source text.
struct Token<'a> {
    text: &'a str,
    line: usize,
}

/// One path, with the groups of a `use` tree multiplied out.
struct Found<'a> {
    names: Vec<&'a str>,
    line: usize,
    /// Followed by `as`.
    renamed: bool,
    /// The inline modules around it, outermost first.
    inside: Vec<&'a str>,
}

fn text_at<'a>(tokens: &[Token<'a>], i: usize) -> &'a str {
    tokens.get(i).map_or("", |t| t.text)
}

fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_alphanumeric() || c == '_')
}

fn paths<'a>(tokens: &[Token<'a>]) -> Vec<Found<'a>> {
    let mut found = Vec::new();
    let mut depth = 0;
    let mut modules: Vec<(&str, usize)> = Vec::new();
    for (i, t) in tokens.iter().enumerate() {
        match t.text {
            "{" => depth += 1,
            "}" => {
                depth -= 1;
                modules.pop_if(|&mut (_, outside)| outside == depth);
            }
            "mod" if text_at(tokens, i + 2) == "{" => modules.push((text_at(tokens, i + 1), depth)),
            // `::std::..` starts a path as well.
            name if is_name(name)
                && (i == 0 || tokens[i - 1].text != "::" || STD.contains(&name)) =>
            {
                let from = found.len();
                tree(tokens, i, &[], &mut found);
                for p in &mut found[from..] {
                    p.inside = modules.iter().map(|&(name, _)| name).collect();
                }
            }
            _ => {}
        }
    }
    found
}

/// Reads the path or `use` tree at `i`; answers where it ends.
fn tree<'a>(
    tokens: &[Token<'a>],
    mut i: usize,
    prefix: &[&'a str],
    found: &mut Vec<Found<'a>>,
) -> usize {
    let mut names = prefix.to_vec();
    loop {
        match text_at(tokens, i) {
            "{" => {
                i += 1;
                while !matches!(text_at(tokens, i), "}" | "") {
                    i = match text_at(tokens, i) {
                        name if is_name(name) || matches!(name, "*" | "{") => {
                            tree(tokens, i, &names, found)
                        }
                        _ => i + 1,
                    };
                }
                return i + 1;
            }
            name if is_name(name) || name == "*" => names.push(name),
            _ => break, // `path::<T>`
        }
        i += 1;
        if text_at(tokens, i) != "::" {
            break;
        }
        i += 1;
    }
    let line = tokens[i - 1].line;
    let renamed = text_at(tokens, i) == "as";
    found.push(Found { names, line, renamed, inside: Vec::new() });
    if renamed { i + 2 } else { i }
}

fn tokens(source: &str) -> Vec<Token<'_>> {
    let mut found = Vec::new();
    let mut line = 1;
    let mut rest = source;
    while let Some(first) = rest.chars().next() {
        let name = rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len());
        let len = match first {
            _ if name > 0 => name,
            ':' if rest.starts_with("::") => 2,
            _ => first.len_utf8(),
        };
        if first == '\n' {
            line += 1;
        } else if !first.is_whitespace() {
            found.push(Token { text: &rest[..len], line });
        }
        rest = &rest[len..];
    }
    found
}

/// `text` with comments and literals turned into blanks; the lines stay.
fn blank(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let after_name = out.ends_with(|c: char| c.is_alphanumeric() || c == '_');
        let skip = match first {
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => comment_len(rest),
            '"' => quoted_len(rest),
            '\'' => char_len(rest),
            'r' | 'b' | 'c' if !after_name => raw_len(rest),
            _ => 0,
        };
        let len = if skip > 0 { skip } else { first.len_utf8() };
        for c in rest[..len].chars() {
            out.push(if skip > 0 && c != '\n' { ' ' } else { c });
        }
        rest = &rest[len..];
    }
    out
}

/// Block comments nest.
fn comment_len(text: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < text.len() {
        let here = &text.as_bytes()[at..];
        if here.starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if here.starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    at
}

fn quoted_len(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// Of a character literal; 0 for a lifetime.
fn char_len(text: &str) -> usize {
    let mut chars = text.char_indices().skip(1);
    match chars.next() {
        Some((_, '\\')) => {
            chars.next();
            chars.find(|&(_, c)| c == '\'').map_or(text.len(), |(at, _)| at + 1)
        }
        Some(_) => chars.next().filter(|&(_, c)| c == '\'').map_or(0, |(at, _)| at + 1),
        None => 0,
    }
}

/// Of `r".."`, `br#".."#`, `cr".."`; 0 for anything else.
fn raw_len(text: &str) -> usize {
    let Some(after_r) = ["r", "br", "cr"].iter().find_map(|p| text.strip_prefix(p)) else {
        return 0;
    };
    let hashes = after_r.len() - after_r.trim_start_matches('#').len();
    let Some(body) = after_r[hashes..].strip_prefix('"') else {
        return 0;
    };
    let end = format!("\"{}", "#".repeat(hashes));
    let open = text.len() - body.len();
    body.find(&end).map_or(text.len(), |at| open + at + end.len())
}

// The real tree.

fn sources() -> Vec<(String, String)> {
    fn collect(root: &Path, dir: &Path, out: &mut Vec<(String, String)>) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                collect(root, &path, out);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let name = path.strip_prefix(root).unwrap().to_str().unwrap().replace('\\', "/");
                out.push((name, fs::read_to_string(&path).unwrap()));
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut out = Vec::new();
    collect(root, &root.join("src"), &mut out);
    out.sort();
    out
}

#[test]
fn the_sources_keep_the_law() {
    let sources = sources();
    let files: Vec<(&str, &str)> = sources.iter().map(|(p, t)| (p.as_str(), t.as_str())).collect();
    let found = violations(&files);
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

#[test]
fn every_floor_has_its_room() {
    let sources = sources();
    for (room, floor) in FLOORS {
        assert!(
            sources.iter().any(|(path, _)| room_of(path) == *room),
            "floor {floor}: no room `{room}` in src/"
        );
    }
}

// Planted breaches: each line of a table is `file in src: second line of the file`.

fn rows(table: &str) -> impl Iterator<Item = (String, String, Vec<String>)> {
    table.lines().map(str::trim).filter(|l| !l.is_empty()).map(|row| {
        let (file, body) = row.split_once(": ").unwrap();
        let path = format!("src/{file}");
        let found = violations(&[(&path, &format!("//! A room.\n{body}\n"))]);
        (path, body.to_owned(), found)
    })
}

#[track_caller]
fn refused(rule: &str, table: &str) {
    for (path, body, found) in rows(table) {
        assert_eq!(found.len(), 1, "{path}: `{body}`: {found:#?}");
        let start = format!("{path}:2: {rule}: ");
        assert!(found[0].starts_with(&start), "`{body}`: {}", found[0]);
    }
}

#[track_caller]
fn allowed(table: &str) {
    for (path, body, found) in rows(table) {
        assert!(found.is_empty(), "{path}: `{body}`: {found:#?}");
    }
}

#[test]
fn a_file_without_a_floor_is_refused() {
    let found = violations(&[("src/attic.rs", "//! A.\n")]);
    let message = "src/attic.rs:1: floor: `attic` has no floor in tests/rooms.rs";
    assert_eq!(found, [message]);
    assert_eq!(violations(&[("src/attic/box.rs", "//! A.\n")]).len(), 1);
    assert_eq!(violations(&[("src/parking.rs", "//! A.\n")]).len(), 1);
}

#[test]
fn imports_go_down() {
    refused(
        "import",
        "
        wait.rs: use crate::mutex;
        wait.rs: use crate::mutex::Mutex;
        wait.rs: use crate::{id, park::{Node, Queue}, join::Join};
        thread/host.rs: fn f() { crate::wait::begin() }
        mutex.rs: use super::condvar;
        park/mod.rs: use crate::thread::Thread;
        park/node.rs: use super::super::thread::Thread;
        ",
    );
    allowed(
        "
        mutex.rs: use crate::wait::Wait;
        mutex.rs: use crate::{id::ThreadId, park::{Node, Queue}, wait};
        condvar.rs: use super::mutex::Mutex;
        lib.rs: mod mutex; pub use crate::mutex::Mutex; pub use condvar::Condvar;
        ",
    );
}

#[test]
fn a_breach_is_told_with_its_own_line() {
    let text = "//! W.\nuse crate::{\n    id,\n    /* \n */ join::Join,\n};\n";
    let found = violations(&[("src/wait.rs", text)]);
    let message = "import: wait (floor 4) names join (floor 5); imports go strictly down";
    assert_eq!(found, [format!("src/wait.rs:5: {message}")]);
}

#[test]
fn rooms_of_one_floor_do_not_meet() {
    refused(
        "import",
        "
        mutex.rs: use crate::join::Join;
        join.rs: use super::mutex;
        id.rs: use crate::error::Overflow;
        ",
    );
    for (from, to) in BESIDE {
        allowed(&format!("{from}.rs: use crate::{to}::Item;"));
        assert!(!BESIDE.contains(&(to, from)), "{from} <-> {to}");
        assert_eq!(floor_of(from), floor_of(to), "{from} -> {to} goes down");
    }
}

#[test]
fn files_of_one_room_may_meet() {
    allowed(
        "
        park/node.rs: use super::queue::Queue; use crate::park::claim; use self::inner::X;
        park/mod.rs: mod node; use self::node::Node; pub(crate) use node::Link;
        thread.rs: use crate::thread::gate::Gate;
        ",
    );
}

#[test]
fn the_shim_stands_alone() {
    refused(
        "import",
        "
        shim/real.rs: use crate::id::ThreadId;
        shim/mod.rs: use super::error;
        ",
    );
    allowed("shim/mod.rs: use super::shim::imp; use std::sync::Arc; use loom::cell::UnsafeCell;");
}

#[test]
fn nobody_imports_the_front_door() {
    refused(
        "import",
        "
        condvar.rs: use crate::Mutex;
        condvar.rs: use crate::*;
        condvar.rs: use super::*;
        condvar.rs: use crate as house;
        condvar.rs: use crate::{self as house};
        condvar.rs: macro_rules! m { () => { $crate::Mutex } }
        ",
    );
    allowed(
        "condvar.rs: pub(crate) fn f(&self) -> u8 { self.x as u8 } pub(in crate::condvar) struct T;",
    );
}

#[test]
fn an_inline_module_counts_in_super() {
    refused(
        "import",
        "
        wait.rs: mod tests { use super::super::mutex; }
        wait.rs: mod tests { fn f() {} } use super::mutex;
        wait.rs: mod tests { mod deep { use super::super::super::condvar::Condvar; } }
        ",
    );
    allowed("wait.rs: mod tests { use super::*; use super::super::park; }");
}

#[test]
fn only_the_shim_names_what_loom_replaces() {
    let table = "
        mutex.rs: use std::sync::Arc;
        mutex.rs: use std::sync;
        mutex.rs: use core::sync::atomic::AtomicU8;
        mutex.rs: use std::{fmt, sync::Arc};
        mutex.rs: use std::{collections::{HashMap, hash_map}, sync::{atomic::AtomicBool}};
        mutex.rs: use ::std::sync::Arc;
        mutex.rs: use {core::fmt, std::sync::Arc};
        mutex.rs: fn f() { let m = std::sync::Mutex::new(0); }
        mutex.rs: fn f(x: std::sync::atomic::Ordering) {}
        mutex.rs: fn f() { let _ = <std::sync::Arc<u8>>::default(); }
        mutex.rs: use std::sync::atomic as a;
        mutex.rs: use alloc::sync::Arc;
        mutex.rs: use std::thread;
        mutex.rs: fn f() { std::thread::yield_now() }
        mutex.rs: use std::{thread::JoinHandle};
        mutex.rs: #[cfg(test)] mod tests { use std::thread; }
        mutex.rs: use std::cell::UnsafeCell;
        mutex.rs: use core::cell::UnsafeCell;
        mutex.rs: use std::cell::{Cell, UnsafeCell};
        mutex.rs: use std::cell;
        mutex.rs: use std::cell::*;
        mutex.rs: use std::cell::{self, Cell};
        mutex.rs: struct S(std::cell::UnsafeCell<u8>);
        mutex.rs: use std as s;
        mutex.rs: use std::*;
        mutex.rs: use std::{self as s};
        mutex.rs: use loom::thread;
        mutex.rs: use ::loom as l;
        mutex.rs: fn f() { loom::model(|| ()) }
        mutex.rs: extern crate std;
        ";
    refused("shim", table);
    allowed(&table.replace("mutex.rs", "shim/real.rs"));
    allowed(
        "
        mutex.rs: use std::{cell::Cell, fmt, time::Instant}; use crate::shim::{Arc, UnsafeCell};
        mutex.rs: use crate::thread::Thread; fn f(t: &thread::Thread) -> std::cell::RefCell<u8> {}
        mutex.rs: #[cfg(selvedge_loom)] const X: u8 = 0; #[cfg(feature = \"loom\")] const Y: u8 = 0;
        ",
    );
}

#[test]
fn only_wait_sleeps() {
    let table = "
        mutex.rs: fn f(p: &Parker) { p.park(still) }
        mutex.rs: fn f(p: &Parker) { Parker::park(p, still) }
        mutex.rs: fn f(p: &Parker) { p.park_until(still, t) }
        mutex.rs: fn f(p: &Parker) { p.park_timeout(d) }
        mutex.rs: fn f() { thread::sleep(d) }
        mutex.rs: use crate::shim::thread::{sleep};
        mutex.rs: fn f() { futex_wait(&w, 1) }
        mutex.rs: use crate::shim::futex_wait as doze;
        mutex.rs: fn f() { shim::nap() }
        ";
    refused("sleep", table);
    for room in ["wait.rs", "park/parker.rs", "shim/real.rs"] {
        let own = table.replace("mutex.rs", room).replace("crate::shim", "self");
        allowed(&own);
    }
    allowed("mutex.rs: use crate::park::Node; fn f(p: &Parker) { p.unpark(); sleep_until(cx, t) }");
}

#[test]
fn comments_and_literals_do_not_count() {
    allowed(
        r###"
        mutex.rs: // use std::sync::Arc;
        mutex.rs: /// use std::thread;
        mutex.rs: /* a /* b */ use crate::condvar; */
        mutex.rs: const A: &str = "std::sync \" crate::lib"; const B: &[u8] = b"\\";
        mutex.rs: const A: &str = r#"" loom::x "#; const B: &str = r"\"; const C: u8 = 0;
        mutex.rs: const A: char = '"'; const B: char = '\''; struct S<'a>(&'a u8);
        "###,
    );
    refused(
        "shim",
        r###"
        mutex.rs: const A: char = '"'; use std::sync::Arc; const B: char = '"';
        mutex.rs: const A: char = '\u{27}'; use std::sync::Arc; const B: char = '\'';
        mutex.rs: const A: &str = "//"; use std::sync::Arc;
        mutex.rs: const A: &str = r#"""#; use std::sync::Arc;
        mutex.rs: /* a /* b */ c */ use std::sync::Arc;
        mutex.rs: fn f<'a>(x: &'a u8) { std::thread::yield_now() } const C: char = 'a';
        "###,
    );
}

#[test]
fn a_room_has_a_header() {
    let found = violations(&[("src/mutex.rs", "use std::fmt;\n")]);
    let message = "src/mutex.rs:1: header: the file must start with `//!`";
    assert_eq!(found, [message]);
    let item = "/// Not of the file.\nstruct S;\n";
    assert_eq!(violations(&[("src/park/node.rs", item)]).len(), 1);
    let readme = "#![doc = include_str!(\"../README.md\")]\n";
    assert!(violations(&[("src/lib.rs", readme)]).is_empty());
    assert_eq!(violations(&[("src/mutex.rs", readme)]).len(), 1);
}

#[test]
fn a_room_has_an_end() {
    let text = |lines: usize| format!("//! Long.\n{}", "\n".repeat(lines - 1));
    assert!(violations(&[("src/mutex.rs", &text(MOST_LINES))]).is_empty());
    let found = violations(&[("src/mutex.rs", &text(MOST_LINES + 1))]);
    let message = "length: more than 700 lines; look for the second protocol";
    assert_eq!(found, [format!("src/mutex.rs:701: {message}")]);
}
