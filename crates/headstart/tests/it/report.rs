//! The report as a page: opened in a real browser, and with names that want to be more than names.

use headstart::data::{Kind, Picture};
use headstart::doctor::{Findings, Suspect};
use headstart::metrics::{Answer, Evaluation};
use headstart::models::Home;
use headstart::report::{Curve, Page, Plot};
use headstart::tensor::Tensor;
use headstart::{Pool, Quiet, Session, SkippedFile};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::AtomicBool;

const HOSTILE: &str = "<script>document.title='taken'</script>\"'><img src=x onerror=alert(1)>&amp;";

/// A page of three classes, one of a hostile name, and 30 pictures, half of them taken for the next class.
fn page() -> Page {
    let labels: Vec<String> =
        ["ants", HOSTILE, "cats and a very long name of a class"].map(str::to_owned).into();
    let n = 30;
    let target = |i: usize| i % 3;
    let logits = Tensor::from_fn([n, 3], |at| {
        let (i, class) = (at / 3, at % 3);
        let answer = if i % 2 == 0 { target(i) } else { (target(i) + 1) % 3 };
        if class == answer { 1.0 + i as f32 / 10.0 } else { class as f32 / 10.0 }
    });
    let targets: Vec<usize> = (0..n).map(target).collect();
    let paths: Vec<String> = (0..n).map(|i| format!("val/{}{HOSTILE}/{i}.jpg", target(i))).collect();
    let picture = |(i, path): (usize, &String)| {
        let image = image::RgbImage::from_fn(40 + i as u32, 30, |x, y| {
            image::Rgb([x as u8 * 3, y as u8 * 8, i as u8 * 8])
        });
        let mut bytes = std::io::Cursor::new(Vec::new());
        image.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
        Picture::from_bytes(path.clone(), bytes.into_inner())
    };
    let curve = |name, first, values: &[f64]| Curve { name, first, values: values.to_vec() };
    Page {
        kind: Kind::Images,
        title: format!("Training on {HOSTILE}"),
        lead: vec![format!("In {HOSTILE}.")],
        evaluation: Evaluation::new(&logits, &targets, &labels).unwrap(),
        baselines: vec![("Most frequent class".into(), 0.33)],
        answers: Answer::of(&logits, &targets, paths.iter().map(String::as_str)),
        pictures: paths.iter().enumerate().map(picture).collect(),
        plots: vec![Plot {
            title: "Loss",
            share: false,
            curves: vec![curve("training", 1, &[0.9, 0.5]), curve("validation", 0, &[1.0, 0.8, 0.7])],
            marked: Some((2, "kept")),
        }],
        findings: Some(Findings {
            duplicates: vec![vec![HOSTILE.into(), "b.jpg".into()]],
            leaks: vec![[HOSTILE.into(), "b.jpg".into()]],
            accuracy_without_leaks: Some(0.5),
            agreed_labels: Some(0.95),
            suspects: vec![Suspect {
                path: HOSTILE.into(),
                label: HOSTILE.into(),
                suggested: "cats".into(),
                score: 0.99,
            }],
        }),
        suspected: vec![picture((3, &paths[3]))],
        looks: Err(format!("No map: {HOSTILE}.")),
        words: Ok(BTreeMap::new()),
        skipped: vec![SkippedFile {
            path: HOSTILE.into(),
            reason: "empty".into(),
            detail: HOSTILE.into(),
            fault: true,
        }],
        facts: vec![("Model".into(), HOSTILE.into())],
        recipe: Some(HOSTILE.into()),
        command: format!("headstart train '{HOSTILE}'"),
        labels,
    }
}

fn html(page: &Page, threads: usize) -> String {
    let (home, pool, interrupt) = (Home::at("unused"), Pool::new(threads), AtomicBool::new(false));
    page.html(&Session { home: &home, pool: &pool, progress: &Quiet, interrupt: &interrupt })
}

#[test]
fn names_that_are_markup_stay_names_and_the_page_is_the_same_for_any_threads() {
    let page = page();
    let found = html(&page, 1);
    assert_eq!(found, html(&page, 2));
    assert!(!found.contains("<script>document") && !found.contains("<img src=x"));
    assert!(found.contains("&lt;script&gt;document.title=&#39;taken&#39;&lt;/script&gt;"));
    assert_eq!(found.matches("<script>").count(), 1);
    let pictures = found.matches("<img ").count();
    assert_eq!((pictures, found.matches("src=\"data:image/jpeg;base64,").count()), (pictures, pictures));
    assert!(pictures >= 20 && found.len() < 3_000_000);
}

#[test]
fn a_picture_that_is_gone_is_said_to_be_so() {
    let mut page = page();
    page.pictures[29] = Picture::from_file("gone.jpg", "/nowhere/gone.jpg");
    assert!(html(&page, 1).contains("not shown: cannot be read"));
}

/// Runs in a copy of the page, in front of everything else, and leaves what it saw in the document.
const WATCH: &str = r#"<script>
window.faults = [];
addEventListener("error", (e) => faults.push("error: " + (e.message || e.target.outerHTML?.slice(0, 80))), true);
addEventListener("unhandledrejection", (e) => faults.push("rejection: " + e.reason));
addEventListener("securitypolicyviolation", (e) => faults.push("policy: " + e.violatedDirective + " " + e.blockedURI));
for (const name of ["error", "warn"]) console[name] = (...text) => faults.push("console: " + text.join(" "));
</script>"#;

/// Runs at the end: clicks every button, waits for every picture, writes down what happened.
const CHECK: &str = r#"<script>
(async () => {
  const seen = {};
  const buttons = [...document.querySelectorAll("button[data-pictures]")];
  const panel = document.getElementById("behind");
  seen.buttons = buttons.length;
  seen.clicks = buttons.filter((button) => {
    button.click();
    const shown = [...panel.querySelectorAll("img")];
    return !panel.hidden && button.getAttribute("aria-expanded") === "true" && shown.length > 0 &&
      shown.length === button.dataset.pictures.split(" ").length && shown.every((i) => i.checkVisibility()) &&
      panel.querySelector("h3").textContent === button.getAttribute("aria-label");
  }).length;
  buttons[0].focus();
  document.activeElement.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowRight", bubbles: true }));
  seen.walked = document.activeElement !== buttons[0] && document.activeElement.matches(".matrix button");
  document.dispatchEvent(new KeyboardEvent("keydown", { key: "Escape" }));
  seen.closed = panel.hidden;
  const pictures = [...document.images];
  await Promise.allSettled(pictures.map((i) => i.decode()));
  seen.pictures = pictures.length;
  seen.loaded = pictures.filter((i) => i.complete && i.naturalWidth > 0).length;
  seen.described = pictures.filter((i) => i.alt).length;
  seen.requests = performance.getEntriesByType("resource").filter((e) => !e.name.startsWith("data:")).map((e) => e.name);
  seen.title = document.title;
  seen.faults = window.faults;
  const out = document.createElement("pre");
  out.id = "seen";
  out.textContent = "seen " + JSON.stringify(seen) + " end";
  document.body.append(out);
})();
</script>"#;

/// A browser, where this machine has one.
fn browser() -> Option<PathBuf> {
    let named = std::env::var_os("HEADSTART_CHROMIUM").map(PathBuf::from);
    let folders: Vec<PathBuf> =
        std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).collect();
    let names = ["chromium", "chromium-browser", "google-chrome", "chrome"];
    let found = named.or_else(|| {
        names.iter().flat_map(|name| folders.iter().map(move |f| f.join(name))).find(|path| path.is_file())
    });
    if found.is_none() {
        eprintln!("skipped: there is no Chromium on PATH (HEADSTART_CHROMIUM names one)");
    }
    found
}

/// What the browser saw of `html`, watched and checked; `None` where it cannot be started.
fn seen(browser: &Path, html: &str) -> serde_json::Value {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("report.html");
    let watched = html.replacen("<title>", &format!("{WATCH}<title>"), 1);
    let watched = watched.replacen("</body>", &format!("{CHECK}</body>"), 1);
    std::fs::write(&file, watched).unwrap();
    let output = Command::new(browser)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=20000", "--dump-dom"])
        .arg(format!("--user-data-dir={}", folder.path().join("profile").display()))
        .arg(format!("file://{}", file.display()))
        .output()
        .unwrap();
    let dom = String::from_utf8_lossy(&output.stdout);
    let text = dom.split("<pre id=\"seen\">seen ").nth(1).and_then(|t| t.split(" end</pre>").next());
    let text =
        text.unwrap_or_else(|| panic!("the check did not end: {}", String::from_utf8_lossy(&output.stderr)));
    let text = text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&");
    serde_json::from_str(&text).unwrap()
}

#[test]
fn a_browser_opens_the_page_without_a_fault_or_a_request_and_its_cells_open_their_pictures() {
    let Some(browser) = browser() else { return };
    let page = html(&page(), 0);
    let found = seen(&browser, &page);
    assert_eq!(found["faults"], serde_json::json!([]), "{found}");
    assert_eq!(found["requests"], serde_json::json!([]), "{found}");
    // Six cells of the matrix and three pairs.
    assert_eq!((&found["buttons"], &found["clicks"]), (&9.into(), &9.into()), "{found}");
    assert_eq!((&found["walked"], &found["closed"]), (&true.into(), &true.into()), "{found}");
    assert!(found["pictures"].as_u64() > Some(20) && found["loaded"] == found["pictures"], "{found}");
    assert_eq!(found["described"], found["pictures"], "{found}");
    assert_eq!(found["title"], format!("Training on {HOSTILE}"), "{found}");

    // The check itself can fail: each of these is something the page must not have.
    let broken = page
        .replacen("data:image/jpeg;base64,/9j/", "data:image/jpeg;base64,AAAA", 1)
        .replacen(
            "<main>",
            "<main><img src=\"https://example.invalid/x.png\" alt=\"\"><script>nothing()</script>",
            1,
        )
        .replacen("panel.hidden = false", "panel.hidden = true", 1);
    let found = seen(&browser, &broken);
    let faults = found["faults"].to_string();
    assert!(
        faults.contains("policy: img-src https://example.invalid")
            && faults.contains("nothing is not defined"),
        "{found}"
    );
    assert!(found["loaded"].as_u64() < found["pictures"].as_u64(), "{found}");
    assert_eq!(found["clicks"], 0, "{found}");
}
