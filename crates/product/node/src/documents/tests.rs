#[path = "../../tests/supervisor/sample.rs"]
mod sample;

use super::*;
use sample::document;
use std::sync::atomic::{AtomicU32, Ordering};

/// A folder that goes with the value.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("hushwire-documents-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a folder");
        Self(path)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let (path, fresh) = (self.0.join(name), self.0.join("fresh"));
        std::fs::write(&fresh, bytes).expect("a file");
        std::fs::rename(&fresh, &path).expect("a file");
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn refused(found: Found) -> String {
    match found {
        Found::Refused(sentence) => sentence,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_later_document_is_found_once_and_others_are_refused_once() {
    let folder = Folder::new();
    let [old, later] = [5, 6].map(|interval| document(1, interval));
    let file = folder.write("document", &old.encode());
    let mut watch = DocumentWatch::new(file.clone(), None);
    assert!(matches!(watch.look(&old), Found::Nothing), "it is in force");
    folder.write("document", &later.encode());
    assert!(matches!(watch.look(&old), Found::Later(document) if *document == later));
    assert!(matches!(watch.look(&later), Found::Nothing));
    folder.write("document", &old.encode());
    let sentence = refused(watch.look(&later));
    assert!(sentence.contains("interval 5, which is not later than the document of interval 6"), "{sentence}");
    assert!(matches!(watch.look(&later), Found::Nothing), "said once");
    assert!(refused(watch.look_again(&later)).contains("not later"));
    folder.write("document", &document(2, 7).encode());
    assert!(refused(watch.look(&later)).contains("another network"));
    let (whole, cut) = (later.encode(), later.encode().len() / 2);
    folder.write("document", &whole[..cut]);
    let sentence = refused(watch.look(&old));
    assert!(sentence.starts_with(&file.display().to_string()) && sentence.contains("line "), "{sentence}");
    std::fs::remove_file(&file).expect("a file");
    assert!(refused(watch.look(&old)).contains("cannot read"));
    folder.write("document", &whole);
    assert!(matches!(watch.look(&old), Found::Later(_)), "it is back");
}

#[test]
fn the_file_beside_it_is_a_reason_to_look_again() {
    let folder = Folder::new();
    let [old, later] = [5, 6].map(|interval| document(1, interval));
    let file = folder.write("document", &later.encode());
    let beside = folder.write("secrets", b"old");
    let mut watch = DocumentWatch::new(file, Some(beside));
    assert!(matches!(watch.look(&old), Found::Later(_)));
    assert!(matches!(watch.look(&old), Found::Nothing), "it was not taken, and is not shown again");
    folder.write("secrets", b"newer");
    assert!(matches!(watch.look(&old), Found::Later(_)), "now it may fit");
}
