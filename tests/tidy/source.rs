//! Reads Rust just far enough for the rules: code without comments and strings, as words, with the paths they form.

/// One word or sign of the code, and the line it stands on, from 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Token<'a> {
    pub text: &'a str,
    pub line: usize,
}

/// A path such as `crate::task::lane`, with what the rules need to know about its surroundings.
#[derive(Debug, PartialEq)]
pub struct Path<'a> {
    pub line: usize,
    pub segments: Vec<&'a str>,
    /// The inline modules around it, outermost first.
    pub modules: Vec<&'a str>,
    /// True inside an item that exists only under `cfg(test)`.
    pub in_test: bool,
}

/// The text with comments and the insides of literals blanked out; every line keeps its number.
pub fn code_of(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut code = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let end = match end_of_blank(&chars, at) {
            Some(end) => end.min(chars.len()),
            None => {
                code.push(chars[at]);
                at += 1;
                continue;
            }
        };
        code.extend(chars[at..end].iter().map(|&c| if c == '\n' { '\n' } else { ' ' }));
        at = end;
    }
    code
}

/// Where the comment or literal that starts here ends; `None` if none starts here.
fn end_of_blank(chars: &[char], at: usize) -> Option<usize> {
    let next = chars.get(at + 1).copied();
    match chars[at] {
        '/' if next == Some('/') => Some(position(chars, at, |c| c == '\n')),
        '/' if next == Some('*') => Some(end_of_block_comment(chars, at)),
        '"' => Some(end_of_quoted(chars, at, '"')),
        // A quote starts a character only if it closes after one: else it is a lifetime.
        '\'' if next == Some('\\') || chars.get(at + 2) == Some(&'\'') => Some(end_of_quoted(chars, at, '\'')),
        'r' | 'b' | 'c' if at == 0 || !is_word(chars[at - 1]) => end_of_raw_string(chars, at),
        _ => None,
    }
}

fn end_of_block_comment(chars: &[char], mut at: usize) -> usize {
    let mut depth = 0;
    while at < chars.len() {
        match chars.get(at..at + 2) {
            Some(['/', '*']) => (depth, at) = (depth + 1, at + 2),
            Some(['*', '/']) => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    at
}

fn end_of_quoted(chars: &[char], open: usize, quote: char) -> usize {
    let mut at = open + 1;
    while at < chars.len() && chars[at] != quote {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    at + 1
}

/// `r"…"`, `r#"…"#`, `br"…"`, `cr"…"`; other strings with a prefix need no care, their quote starts them.
fn end_of_raw_string(chars: &[char], start: usize) -> Option<usize> {
    let r = start + usize::from(chars[start] != 'r');
    let open = position(chars, r + 1, |c| c != '#');
    if chars.get(r) != Some(&'r') || chars.get(open) != Some(&'"') {
        return None;
    }
    let hashes = open - r - 1;
    let closes = |at: usize| chars[at] == '"' && chars[at + 1..].iter().take_while(|&&c| c == '#').count() >= hashes;
    let close = (open + 1..chars.len()).find(|&at| closes(at)).unwrap_or(chars.len());
    Some(close + 1 + hashes)
}

fn position(chars: &[char], from: usize, is_end: impl Fn(char) -> bool) -> usize {
    (from..chars.len()).find(|&at| is_end(chars[at])).unwrap_or(chars.len())
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Words, `::`, and every other sign by itself.
pub fn tokens_of(code: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    for (index, line) in code.lines().enumerate() {
        let mut rest = line.trim_start();
        while let Some(first) = rest.chars().next() {
            let length = match first {
                c if is_word(c) => rest.find(|c| !is_word(c)).unwrap_or(rest.len()),
                ':' if rest.starts_with("::") => 2,
                c => c.len_utf8(),
            };
            tokens.push(Token { text: &rest[..length], line: index + 1 });
            rest = rest[length..].trim_start();
        }
    }
    tokens
}

/// All paths of two or more segments, in `use` items (groups unfolded) and anywhere else.
pub fn paths_of<'a>(tokens: &[Token<'a>]) -> Vec<Path<'a>> {
    let text = |at: usize| tokens.get(at).map_or("", |token| token.text);
    let mut paths = Vec::new();
    let mut open: Vec<Option<&str>> = Vec::new(); // one per open bracket: the name if it is a module's
    let mut test_from: Option<usize> = None; // the bracket depth of the item that is only for tests
    let mut at = 0;
    while at < tokens.len() {
        if text(at) == "#" && text(at + 1) == "[" {
            let end = end_of_attribute(tokens, at);
            if test_from.is_none() && is_cfg_test(&tokens[at..end]) {
                test_from = Some(open.len());
            }
            at = end;
            continue;
        }
        match text(at) {
            "{" | "(" | "[" => open.push((at >= 2 && text(at - 2) == "mod").then(|| text(at - 1))),
            "}" | ")" | "]" => _ = open.pop(),
            _ => {}
        }
        if matches!(text(at), "}" | ";") && test_from.is_some_and(|depth| open.len() <= depth) {
            test_from = None;
        }
        let continues = at > 0 && text(at - 1) == "::" && at > 1 && (is_name(text(at - 2)) || text(at - 2) == ">");
        if !is_name(text(at)) || text(at + 1) != "::" || continues {
            at += 1;
            continue;
        }
        let mut found = Vec::new();
        at = unfold(tokens, at, Vec::new(), &mut found);
        let modules: Vec<&str> = open.iter().flatten().copied().collect();
        paths.extend(found.into_iter().map(|(line, segments)| Path {
            line,
            segments,
            modules: modules.clone(),
            in_test: test_from.is_some(),
        }));
    }
    paths
}

fn is_name(text: &str) -> bool {
    text.chars().next().is_some_and(|c| c.is_alphabetic() || c == '_')
}

/// Follows one path from `at`, branching at `{…}`, and returns the position after it.
fn unfold<'a>(
    tokens: &[Token<'a>],
    mut at: usize,
    mut segments: Vec<&'a str>,
    found: &mut Vec<(usize, Vec<&'a str>)>,
) -> usize {
    while let Some(&Token { text, line }) = tokens.get(at) {
        if text == "{" {
            at += 1;
            while tokens.get(at).is_some_and(|token| token.text != "}") {
                // Names are followed; commas and what stands after `as` form no path of their own.
                let renamed = tokens[at - 1].text == "as";
                let starts = is_name(tokens[at].text) || matches!(tokens[at].text, "{" | "*");
                let is_as = tokens[at].text == "as";
                at = if starts && !renamed && !is_as { unfold(tokens, at, segments.clone(), found) } else { at + 1 };
            }
            return at + 1;
        }
        if is_name(text) {
            segments.push(text);
            at += 1;
            if tokens.get(at).is_some_and(|token| token.text == "::") {
                at += 1;
                continue;
            }
        } else if text == "*" {
            at += 1;
        }
        found.push((line, segments));
        return at;
    }
    at
}

fn end_of_attribute(tokens: &[Token<'_>], start: usize) -> usize {
    let mut depth = 0;
    for (at, token) in tokens.iter().enumerate().skip(start) {
        match token.text {
            "[" => depth += 1,
            "]" if depth == 1 => return at + 1,
            "]" => depth -= 1,
            _ => {}
        }
    }
    tokens.len()
}

fn is_cfg_test(attribute: &[Token<'_>]) -> bool {
    let words: Vec<&str> = attribute.iter().map(|token| token.text).filter(|text| is_name(text)).collect();
    words.first() == Some(&"cfg") && words.contains(&"test") && !words.contains(&"not") && !words.contains(&"any")
}
