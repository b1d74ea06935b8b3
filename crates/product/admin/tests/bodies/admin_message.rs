//! Any bytes as a line on the admin socket, asked or answered; a status that can be read can be drawn.

use admin::protocol::{Request, Response};
use admin::render;

/// Feeds one input.
pub(crate) fn run(data: &[u8]) {
    if let Ok(request) = serde_json::from_slice::<Request>(data) {
        let line = serde_json::to_vec(&request).expect("requests have only names");
        assert_eq!(serde_json::from_slice::<Request>(&line).ok(), Some(request));
    }
    let Ok(response) = serde_json::from_slice::<Response>(data) else { return };
    let line = serde_json::to_vec(&response).expect("responses have no map but of strings");
    assert!(serde_json::from_slice::<Response>(&line).is_ok(), "what was read can be written and read");
    if let Response::HopStatus { status } = &response {
        let shown = admin::hop_proxy::screen(status);
        assert!(shown.chars().all(|letter| letter == '\n' || !letter.is_control()), "{shown:?}");
    }
    let other = match &response {
        Response::Mirror { status } => Some(admin::mirror::screen(status, 0)),
        Response::Relay { status } => Some(admin::relay::screen(status)),
        _ => None,
    };
    assert!(other.is_none_or(|shown| shown.chars().all(|letter| letter == '\n' || !letter.is_control())));
    if let Response::Status { status } = response {
        let plain = render::screen(&status, false);
        assert!(plain.ends_with('\n'));
        let strange = plain.chars().find(|letter| letter.is_control() && *letter != '\n');
        assert_eq!(strange, None, "no text of a status moves the cursor of a terminal");
        assert!(render::screen(&status, true).len() >= plain.len());
    }
}
