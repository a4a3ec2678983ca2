//! The imports of a Rust file: its `use` declarations, written out in full.

/// Whether a path is another one, or lies below it.
pub fn is_below(path: &str, ancestor: &str) -> bool {
    path.strip_prefix(ancestor).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// Every path that a file imports: without braces, globs and renames; `super::` and `self::`
/// become `crate::…`, by the file's own module.
pub fn imports(module: &str, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (declaration, depth) in declarations(text) {
        let mut paths = Vec::new();
        expand("", &declaration, &mut paths);
        found.extend(paths.iter().filter_map(|path| absolute(module, depth, path)));
    }
    found.extend(text.lines().filter(|line| used(line).is_none()).flat_map(spelled_out));
    found
}

/// Where the paths of this workspace begin.
const ROOTS: &[&str] = &["crate::", "load::", "protocol::", "transport::"];

/// The paths of this workspace that a line of code spells out instead of importing them.
fn spelled_out(line: &str) -> Vec<String> {
    let code = line.split("//").next().unwrap_or(line);
    let in_path = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    let mut found = Vec::new();
    for root in ROOTS {
        for (place, _) in code.match_indices(root) {
            let before = &code[..place];
            let in_text = before.matches('"').count() % 2 == 1;
            let path = &code[place..];
            let path =
                path[..path.find(|c| !in_path(c)).unwrap_or(path.len())].trim_end_matches(':');
            // A line inside the braces of a declaration has no path of its own.
            if !in_text && !before.ends_with(in_path) && path.len() > root.len() {
                found.push(path.to_owned());
            }
        }
    }
    found
}

/// What stands between `use` and `;`, without white space, with how many modules are open there.
fn declarations(text: &str) -> Vec<(String, usize)> {
    let mut found = Vec::new();
    let mut lines = text.lines();
    let mut depth = 0;
    while let Some(line) = lines.next() {
        let Some(first) = used(line) else {
            depth = modules_open(line, depth);
            continue;
        };
        let mut declaration = first.to_owned();
        while !declaration.contains(';') {
            let Some(more) = lines.next() else { break };
            declaration.push_str(more);
        }
        let end = declaration.find(';').unwrap_or(declaration.len());
        let whole = declaration[..end].replace(" as ", "@");
        found.push((whole.split_whitespace().collect(), depth));
    }
    found
}

/// What follows `use` on a line that begins a declaration.
fn used(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let line = match line.strip_prefix("pub") {
        Some(rest) if rest.starts_with('(') => rest.split_once(')')?.1.trim_start(),
        Some(rest) => rest.trim_start(),
        None => line,
    };
    line.strip_prefix("use ")
}

/// `cargo fmt` puts a module's braces on lines of their own, at the indent of its depth.
fn modules_open(line: &str, depth: usize) -> usize {
    let (code, indent) = (line.trim(), line.len() - line.trim_start().len());
    let opens = code.ends_with('{') && code.split(' ').any(|word| word == "mod");
    if opens && indent == depth * 4 {
        depth + 1
    } else if code == "}" && depth > 0 && indent == (depth - 1) * 4 {
        depth - 1
    } else {
        depth
    }
}

/// Writes a declaration with braces out as paths.
fn expand(prefix: &str, text: &str, paths: &mut Vec<String>) {
    let mut start = 0;
    let mut open = 0;
    for (place, character) in text.char_indices().chain([(text.len(), ',')]) {
        match character {
            '{' => open += 1,
            '}' => open -= 1,
            ',' if open == 0 => {
                expand_one(prefix, &text[start..place], paths);
                start = place + 1;
            }
            _ => {}
        }
    }
}

fn expand_one(prefix: &str, text: &str, paths: &mut Vec<String>) {
    if let Some((before, group)) = text.split_once('{') {
        expand(&format!("{prefix}{before}"), group.strip_suffix('}').unwrap_or(group), paths);
    } else if !text.is_empty() {
        let name = text.split('@').next().unwrap_or(text);
        let path = format!("{prefix}{name}");
        let path = path.strip_suffix("::*").or(path.strip_suffix("::self")).unwrap_or(&path);
        paths.push(path.to_owned());
    }
}

/// A path from the root of its crate; none where it stays inside the file.
fn absolute(module: &str, depth: usize, path: &str) -> Option<String> {
    let mut parents: Vec<&str> = module.split("::").filter(|part| !part.is_empty()).collect();
    let mut rest = path;
    let mut inside = depth;
    let mut relative = false;
    loop {
        let (first, after) = rest.split_once("::").unwrap_or((rest, ""));
        match first {
            "self" => {}
            "super" if inside > 0 => inside -= 1,
            "super" => drop(parents.pop()),
            _ => break,
        }
        relative = true;
        rest = after;
    }
    if !relative {
        return Some(path.to_owned());
    }
    if inside > 0 {
        return None;
    }
    let rest = Some(rest).filter(|rest| !rest.is_empty());
    let parts: Vec<&str> = ["crate"].into_iter().chain(parents).chain(rest).collect();
    Some(parts.join("::"))
}

#[test]
fn paths_are_written_out_in_full() {
    let of = |text: &str| imports("actors::store::orders", text);
    assert_eq!(
        of("use std::{fmt, io::{self, Read as _}};"),
        ["std::fmt", "std::io", "std::io::Read"]
    );
    assert_eq!(of("use super::health::Health;"), ["crate::actors::store::health::Health"]);
    assert_eq!(of("use super::super::peer;"), ["crate::actors::peer"]);
    assert_eq!(of("use self::inner::Thing;"), ["crate::actors::store::orders::inner::Thing"]);
    assert_eq!(of("mod tests {\n    use super::*;\n}"), ["crate::actors::store::orders"]);
    assert_eq!(of("mod a {\n    mod b {\n        use super::x;\n    }\n}"), [""; 0]);
    assert_eq!(
        of("let x = crate::db::new(&protocol::time::NOW); // crate::y, my_protocol::z"),
        ["crate::db::new", "protocol::time::NOW"]
    );
    assert_eq!(of("mod a {\n}\nuse super::x;"), ["crate::actors::store::x"]);
}
