//! The page of a marketplace: plugins, versions, capabilities, reviewers and the log, as plain HTML
//! without scripts. Text of strangers is escaped.

use aimass_market::desk::{CatalogRelease, Desk};
use std::fmt::Write;

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;\
color:#1c2430;background:#fff}h1{font-size:1.6rem}h2{font-size:1.2rem;margin-top:2rem}table{border-collapse:\
collapse;width:100%}th,td{text-align:left;padding:.4rem .6rem;border-bottom:1px solid #d8dee6;vertical-align:top}\
code{font-size:.85rem;overflow-wrap:anywhere}.note{color:#556}@media(prefers-color-scheme:dark){body{color:#e4e8ee;\
background:#14181e}th,td{border-color:#333c48}.note{color:#9ab}}";

/// The whole page.
pub(super) fn html(desk: &Desk) -> anyhow::Result<String> {
    let config = desk.config();
    let (title, name) = (escaped(&config.title), escaped(&config.name));
    let mut page = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width\"><title>{title}</title><style>{STYLE}</style><h1>{title}</h1>"
    );
    if let Some(fingerprint) = desk.fingerprint()? {
        write!(
            page,
            "<p>Marketplace <b>{name}</b>. Compare this fingerprint with what its people published \
             elsewhere before you trust it:<br><code>{}</code></p>",
            hex(&fingerprint)
        )?;
    }
    releases(&mut page, &desk.catalog()?)?;
    let targets = desk.targets()?;
    write!(page, "<h2>Reviewers</h2><p>A release needs {} of:</p><ul>", targets.review.threshold)?;
    for key in &targets.review.keys {
        write!(page, "<li><code>{key}</code>")?;
    }
    page.push_str("</ul><h2>Log</h2>");
    match desk.checkpoint()? {
        Some(seen) => write!(
            page,
            "<p>{} entries, root <code>{}</code>, cosigned by {}.</p>",
            seen.checkpoint.size,
            hex(&seen.checkpoint.root),
            escaped(&seen.witnesses.join(", "))
        )?,
        None => page.push_str("<p class=note>Empty.</p>"),
    }
    revoked(&mut page, desk)?;
    page.push_str("</html>\n");
    Ok(page)
}

fn releases(page: &mut String, all: &[CatalogRelease]) -> anyhow::Result<()> {
    page.push_str("<h2>Plugins</h2>");
    if all.is_empty() {
        page.push_str("<p class=note>None yet.</p>");
        return Ok(());
    }
    page.push_str(
        "<table><tr><th>Plugin<th>Version<th>May use<th>Size<th>Signed by<th>Log position</tr>",
    );
    for one in all {
        let description = one.manifest.description.as_deref().unwrap_or_default();
        let signers = one.signers.iter().map(|key| format!("<code>{}</code>", escaped(key)));
        write!(
            page,
            "<tr><td><b>{}</b><br>{}<br><span class=note>{}</span><td>{}<td>{}<td>{} KiB<td>{}<td>{}</tr>",
            one.name,
            escaped(description),
            escaped(one.manifest.license.as_deref().unwrap_or_default()),
            one.version,
            escaped(&one.manifest.capabilities.to_string()),
            one.bytes.div_ceil(1024),
            signers.collect::<Vec<_>>().join("<br>"),
            one.log_index,
        )?;
    }
    page.push_str("</table>");
    Ok(())
}

fn revoked(page: &mut String, desk: &Desk) -> anyhow::Result<()> {
    let list: serde_json::Value = serde_json::from_slice(&desk.revoked()?.to_json()?)?;
    let entries = list["entries"].as_array().cloned().unwrap_or_default();
    if entries.is_empty() {
        return Ok(());
    }
    page.push_str("<h2>Revoked</h2><ul>");
    for entry in entries {
        let text = |name: &str| entry[name].as_str().unwrap_or_default().to_owned();
        let what = ["sha256", "key", "publisher", "name"].map(text).concat();
        write!(
            page,
            "<li><code>{}</code>: {} <span class=note>{}</span>",
            escaped(&what),
            escaped(&text("reason")),
            escaped(&text("at"))
        )?;
    }
    page.push_str("</ul>");
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for one in text.chars() {
        match one {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            other => safe.push(other),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_strangers_cannot_leave_its_place() {
        let text = escaped("<script>alert('x')</script>\"&");
        assert_eq!(text, "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&quot;&amp;");
    }
}
