//! The page for people.

use std::fmt::Write as _;

use crate::LoginInfo;

/// Nothing is loaded and nothing runs: the page is text with its own styles.
pub(crate) const CONTENT_POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const STYLE: &str = include_str!("page.css");

/// The whole page. Every value is escaped.
pub(crate) fn render(info: &LoginInfo) -> String {
    let LoginInfo { grpc_endpoint, router_endpoint, namespace, login_endpoint, ca_bundle, oidc } = info;
    let mut page = String::with_capacity(4096);
    page.push_str("<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
    page.push_str("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n");
    page.push_str("<title>Jumpstarter</title>\n<style>\n");
    page.push_str(STYLE);
    page.push_str("</style>\n</head>\n<body>\n<main>\n");
    page.push_str("<h1>Jumpstarter</h1>\n<p class=\"lead\">This lab shares real devices for testing.</p>\n");

    let address = login_endpoint.as_deref().filter(|text| !text.is_empty());
    let command = format!("jmp login NAME@{}", address.unwrap_or("THIS-ADDRESS"));
    page.push_str("<h2>Log in</h2>\n");
    if oidc.is_empty() {
        page.push_str(
            "<p>This lab gives out its own tokens. Ask whoever runs it for a client configuration, or for a token to \
             use with these values.</p>\n",
        );
        page.push_str("<p>Where an identity provider is connected, people log in with a command:</p>\n");
    } else {
        page.push_str("<p>With the Jumpstarter command line installed, choose a name and run:</p>\n");
    }
    block(&mut page, &command);

    page.push_str("<h2>Connection</h2>\n<dl>\n");
    entry(&mut page, "Controller", grpc_endpoint);
    if let Some(router) = router_endpoint.as_deref().filter(|text| !text.is_empty()) {
        entry(&mut page, "Router", router);
    }
    entry(&mut page, "Namespace", namespace);
    let issuers: Vec<&str> = oidc.iter().map(|oidc| oidc.issuer.as_str()).collect();
    for issuer in &issuers {
        entry(&mut page, "Identity provider", issuer);
    }
    let trust = if ca_bundle.as_ref().is_some_and(|text| !text.is_empty()) {
        "own CA, taken over by the login command"
    } else {
        "public, or given by whoever runs the lab"
    };
    plain_entry(&mut page, "Certificates", trust);
    page.push_str("</dl>\n<p class=\"small\">For programs: <a href=\"/v1/auth/config\">/v1/auth/config</a></p>\n");
    page.push_str("</main>\n</body>\n</html>\n");
    page
}

fn block(page: &mut String, command: &str) {
    let _ = writeln!(page, "<pre><code>{}</code></pre>", Escaped(command));
}

fn entry(page: &mut String, name: &str, value: &str) {
    let _ = writeln!(page, "<dt>{}</dt><dd><code>{}</code></dd>", Escaped(name), Escaped(value));
}

fn plain_entry(page: &mut String, name: &str, value: &str) {
    let _ = writeln!(page, "<dt>{}</dt><dd>{}</dd>", Escaped(name), Escaped(value));
}

/// A text that cannot become markup, between tags or in an attribute.
struct Escaped<'a>(&'a str);

impl std::fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for c in self.0.chars() {
            match c {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}
