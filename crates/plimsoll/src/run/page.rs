//! The page that a browser is shown while a replica starts.

use bytes::Bytes;

/// The page of a service. It asks again by itself, and has nothing that would have to be fetched.
pub(crate) fn waiting_page(service: &str) -> Bytes {
    // The name has been checked to be letters, digits and a few marks that mean nothing in HTML.
    Bytes::from(PAGE.replace("{service}", service))
}

const PAGE: &str = r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="refresh" content="1">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Starting {service}</title>
<style>
body { font: 1rem/1.5 system-ui, sans-serif; display: grid; place-content: center; min-height: 90vh; margin: 0; text-align: center }
i { display: block; width: 2.5rem; height: 2.5rem; margin: 0 auto 1.5rem; border: .25rem solid; border-right-color: transparent; border-radius: 50%; animation: turn 1s linear infinite }
@keyframes turn { to { transform: rotate(1turn) } }
@media (prefers-reduced-motion: reduce) { i { animation: none } }
p { margin: .25rem; opacity: .75 }
</style>
</head>
<body>
<main role="status">
<i aria-hidden="true"></i>
<h1>Starting {service}</h1>
<p>It was not needed for a while and is being started.</p>
<p>This page asks again every second.</p>
</main>
</body>
</html>
"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_names_the_service_and_asks_again() {
        let page = waiting_page("web");
        insta::assert_snapshot!(std::str::from_utf8(&page).unwrap());
    }
}
