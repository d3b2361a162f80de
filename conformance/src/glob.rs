//! Globs over ids of cases: `*` is any run of characters.

/// Whether the glob matches all of the text.
pub fn matches(glob: &str, text: &str) -> bool {
    match glob.split_once('*') {
        None => glob == text,
        Some((head, rest)) => text.strip_prefix(head).is_some_and(|text| {
            let starts = text.char_indices().map(|(at, _)| at).chain([text.len()]);
            starts.into_iter().any(|at| matches(rest, &text[at..]))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn a_star_is_any_run() {
        assert!(matches("K1", "K1") && !matches("K1", "K10"));
        assert!(matches("K1*", "K10") && matches("K1*", "K1") && matches("*", ""));
        assert!(matches("*B-*", "ZB-7") && !matches("*B-*", "Z9"));
    }
}
