//! Comments of .proto files as documentation.

use proc_macro2::TokenStream;
use prost_build::Comments;
use quote::quote;

/// Lines of documentation.
pub(crate) fn lines(lines: &[&str]) -> TokenStream {
    let lines = lines.iter().map(|line| match *line {
        "" => String::new(),
        line => format!(" {line}"),
    });
    quote!(#(#[doc = #lines])*)
}

/// A paragraph with what a person wrote above something; nothing where nobody did. Prost has already
/// made code blocks plain text, so that nothing of it is compiled as an example of Rust.
pub(crate) fn of(comments: &Comments) -> TokenStream {
    // What stands apart from it is about something else.
    let own = Comments {
        leading_detached: Vec::new(),
        ..comments.clone()
    };
    // Prost's own writer escapes what rustdoc would take for links.
    let mut text = String::new();
    own.append_with_indent(0, &mut text);
    if text.is_empty() {
        return TokenStream::new();
    }
    let lines = text
        .lines()
        .map(|line| line.strip_prefix("///").unwrap_or(line));
    quote!(#[doc = ""] #(#[doc = #lines])*)
}
