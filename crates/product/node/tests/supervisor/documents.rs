//! The network's document: at the start, while the node runs, and at the next start of a process.

use std::sync::Arc;

use network_document::NetworkDocument;
use node::{DocumentPlan, DocumentRole, NodeStatus, TakenDocument};
use rustix::process::Signal;
use serde_json::json;

use crate::dummy::Behaviour;
use crate::rig::{Directory, Outcome, kill, plan, with_node};
use crate::sample::document;

/// Takes all but the document of interval 8.
struct Role;

impl DocumentRole for Role {
    fn take(&self, document: &NetworkDocument, bytes: usize) -> Result<TakenDocument, String> {
        if document.interval().0 == 8 {
            return Err("this is the eighth; take another".to_owned());
        }
        Ok(TakenDocument { order: json!({ "document": bytes }), boot: vec![("/document_bytes", bytes.into())] })
    }
}

/// What the shaped process has read last, and from where.
fn seen(status: &NodeStatus) -> serde_json::Value {
    status.shaped.body.as_ref().map(|body| body["document"].clone()).unwrap_or_default()
}

pub(crate) fn a_later_document_reaches_the_running_process() -> Outcome {
    let directory = Directory::new()?;
    let file = directory.0.join("document");
    let (fresh, place) = (directory.0.join("fresh"), file.clone());
    let put = move |bytes: &[u8]| std::fs::write(&fresh, bytes).and_then(|()| std::fs::rename(&fresh, &place));
    let first = document(1, 5);
    put(&first.encode())?;
    let mut plan = plan(&directory, Behaviour::Serve, Behaviour::Serve)?;
    plan.shaped.boot["document_bytes"] = first.encode().len().into();
    plan.document = Some(DocumentPlan { file, beside: None, document: first, role: Arc::new(Role) });
    with_node(plan, |watcher| {
        let of = |interval| document(1, interval).encode();
        async move {
            let is_first = |status: &NodeStatus| seen(status) == json!([5, "boot"]) && status.unshaped.body.is_some();
            let status = watcher.until("the first", is_first).await?;
            assert_eq!(status.unshaped.body.as_ref().map(|body| body["document"].clone()), Some(json!(null)));
            put(&of(6))?;
            watcher.until("the second", |status| seen(status) == json!([6, "order"])).await?;
            kill(status.shaped.pid)?;
            watcher.until("a successor has it", |status| seen(status) == json!([6, "boot"])).await?;
            // Refused: by the role, for its age, and because it is none.
            put(&of(8))?;
            tokio::time::sleep(std::time::Duration::from_millis(1_500)).await;
            put(&of(5))?;
            tokio::time::sleep(std::time::Duration::from_millis(1_500)).await;
            put(b"nonsense")?;
            rustix::process::kill_process(rustix::process::getpid(), Signal::HUP)?;
            tokio::time::sleep(std::time::Duration::from_millis(300)).await;
            assert_eq!(seen(&watcher.status.snapshot()), json!([6, "boot"]));
            put(&of(9))?;
            watcher.until("the fourth", |status| seen(status) == json!([9, "order"])).await?;
            Ok(())
        }
    })
}
