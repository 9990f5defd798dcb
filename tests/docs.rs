//! What comments and pages refer to exists: numbered invariants and edges, rules, decisions, files, headings.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The files below `dir` with this ending. None, if the package has no such folder.
fn files(dir: &str, ending: &str) -> Vec<(PathBuf, String)> {
    fn collect(dir: &Path, ending: &str, out: &mut Vec<(PathBuf, String)>) {
        for entry in fs::read_dir(dir).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.ends_with("target") {
                collect(&path, ending, out);
            } else if path.extension().is_some_and(|e| e == ending) {
                let text = fs::read_to_string(&path).unwrap();
                out.push((path, text));
            }
        }
    }
    let mut out = Vec::new();
    collect(&root().join(dir), ending, &mut out);
    out.sort();
    out
}

/// As `claim` for src/park/claim.rs, `mutex` for src/mutex/mod.rs.
fn room(path: &Path) -> String {
    let path = if path.ends_with("mod.rs") { path.parent().unwrap() } else { path };
    path.file_stem().unwrap().to_str().unwrap().into()
}

/// `I3`, `E1`, `R2` and the like.
fn is_number(word: &str, kinds: &str) -> bool {
    let mut chars = word.chars();
    chars.next().is_some_and(|c| kinds.contains(c))
        && word.len() > 1
        && chars.all(|c| c.is_ascii_digit())
}

/// The numbers that headers define, by the room's name. Files that share a name share their numbers.
fn defined() -> BTreeMap<String, BTreeSet<String>> {
    let mut all: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (path, text) in files("src", "rs") {
        let numbers = all.entry(room(&path)).or_default();
        for line in text.lines().filter_map(|l| l.strip_prefix("//! ")) {
            let first = line.split(". ").next().unwrap();
            if is_number(first, "IE") {
                numbers.insert(first.into());
            }
        }
    }
    all
}

/// `claim E1` and `wait I2` name what their rooms' headers have.
#[test]
fn numbers_of_other_rooms_exist() {
    let defined = defined();
    let (mut wrong, mut checked) = (Vec::new(), 0);
    for (path, text) in ["src", "loom-tests", "tests"].iter().flat_map(|d| files(d, "rs")) {
        for (n, line) in text.lines().enumerate() {
            let words: Vec<&str> = line.split_whitespace().collect();
            for pair in words.windows(2) {
                let of = pair[0].trim_start_matches(|c: char| !c.is_alphanumeric());
                let number = pair[1].trim_end_matches(|c: char| !c.is_alphanumeric());
                let Some(numbers) = defined.get(of) else { continue };
                if is_number(number, "IE") {
                    checked += 1;
                    if !numbers.contains(number) {
                        wrong.push(format!("{}:{}: {of} {number}", path.display(), n + 1));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "no header has\n{}\n", wrong.join("\n"));
    assert!(checked > 20, "only {checked} found: the search is blind");
}

/// `R4` is in the table of rules, `decision 8` is a file, and its only one.
#[test]
fn rules_and_decisions_exist() {
    let page = fs::read_to_string(root().join("docs/ARCHITECTURE.md")).unwrap();
    let decisions = files("docs/decisions", "md");
    let mut wrong = Vec::new();
    for (path, text) in ["src", "loom-tests"].iter().flat_map(|d| files(d, "rs")) {
        for (n, line) in text.lines().enumerate().filter(|(_, l)| l.contains("//")) {
            let words: Vec<&str> =
                line.split(|c: char| !c.is_alphanumeric()).filter(|w| !w.is_empty()).collect();
            let mut say = |what: &str| wrong.push(format!("{}:{}: {what}", path.display(), n + 1));
            for rule in words.iter().filter(|w| is_number(w, "R")) {
                if !page.contains(&format!("\n| {rule} |")) {
                    say(rule);
                }
            }
            for pair in words.windows(2).filter(|p| p[0] == "decision") {
                let Ok(number) = pair[1].parse::<u32>() else { continue };
                let start = format!("{number:04}-");
                let named = |p: &Path| p.file_name().unwrap().to_str().unwrap().starts_with(&start);
                if decisions.iter().filter(|(p, _)| named(p)).count() != 1 {
                    say(&format!("decision {number}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "not there:\n{}\n", wrong.join("\n"));
}

/// The guide says so.
#[test]
fn all_public_enums_are_non_exhaustive() {
    let (mut wrong, mut checked) = (Vec::new(), 0);
    for (path, text) in files("src", "rs") {
        let lines: Vec<&str> = text.lines().collect();
        for (n, _) in lines.iter().enumerate().filter(|(_, l)| l.starts_with("pub enum ")) {
            checked += 1;
            let mut attributes = lines[..n].iter().rev().take_while(|l| l.starts_with("#["));
            if !attributes.any(|l| *l == "#[non_exhaustive]") {
                wrong.push(format!("{}:{}: {}", path.display(), n + 1, lines[n]));
            }
        }
    }
    assert!(wrong.is_empty(), "these are not:\n{}\n", wrong.join("\n"));
    assert!(checked > 10, "only {checked} found: the search is blind");
}

/// A heading's anchor, as forges make it.
fn anchor(heading: &str) -> String {
    let kept = heading.to_lowercase();
    let kept = kept.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.collect::<String>().replace(' ', "-")
}

/// Where the links of a page lead to: `[text](target)` and `[name]: target`.
fn targets(text: &str) -> Vec<&str> {
    let inline = text.match_indices("](").filter_map(|(at, _)| text[at + 2..].split(')').next());
    let named = text.lines().filter(|l| l.starts_with('['));
    inline.chain(named.filter_map(|l| Some(l.split_once("]: ")?.1))).collect()
}

#[test]
fn links_of_pages_lead_somewhere() {
    let mut pages = files("docs", "md");
    pages.extend(files("examples", "md"));
    for name in ["README.md", "CHANGELOG.md"] {
        pages.push((root().join(name), fs::read_to_string(root().join(name)).unwrap()));
    }
    let (mut wrong, mut checked) = (Vec::new(), 0);
    for (path, text) in &pages {
        let headings: Vec<String> = text
            .lines()
            .filter_map(|l| Some(anchor(l.strip_prefix('#')?.trim_start_matches('#').trim())))
            .collect();
        for target in targets(text).into_iter().filter(|t| !t.starts_with("https://")) {
            checked += 1;
            let found = match target.strip_prefix('#') {
                Some(heading) => headings.iter().any(|h| h == heading),
                None => path.parent().unwrap().join(target).exists(),
            };
            if !found {
                wrong.push(format!("{}: {target}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "dead links:\n{}\n", wrong.join("\n"));
    assert!(checked > 15, "only {checked} found: the search is blind");
}

#[test]
fn the_searches_see() {
    assert!(is_number("I3", "IE") && is_number("E12", "IE"));
    assert!(!is_number("I", "IE") && !is_number("R1", "IE") && !is_number("Ix", "IE"));
    assert_eq!(
        anchor("12. The end of a thread, the end of the VM"),
        "12-the-end-of-a-thread-the-end-of-the-vm"
    );
    assert_eq!(targets("a [b](c) d\n[e]: f\n[g][e]"), ["c", "f"]);
    assert!(defined()["claim"].contains("E1") && !defined()["claim"].contains("E9"));
}
