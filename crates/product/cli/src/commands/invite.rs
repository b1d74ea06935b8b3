//! `hushwire invite`: what somebody needs to come into a network.

use crate::args::join::InviteArgs;
use crate::commands::mirror::invitation;
use crate::commands::network;
use crate::failure::{Code, Failure, Outcome};
use crate::settings;
use crate::terminal;
use identity::NodeSecret;
use network_document::{Charter, Contact, Invitation, InvitationError};
use qrcode::QrCode;
use qrcode::render::unicode::Dense1x2;

pub(crate) fn run(args: &InviteArgs) -> Outcome {
    let mut contacts = Vec::new();
    let mut charter = None;
    if let (Some(file), Some(keys), Some(onion_keys)) = (&args.charter, &args.keys, &args.onion_keys) {
        charter = Some(network::read_charter(file)?);
        let keys = settings::keys(keys)?;
        contacts.push(Contact {
            node_id: keys.node_secret.node_id(),
            link_key: keys.link_secret.link_key(),
            door_key: keys.door_key.clone(),
            onion_key: network::prepare_lasting_key(onion_keys)?,
            addresses: args.address.clone(),
        });
    }
    for file in &args.and {
        let other = invitation(file)?;
        check_network(charter.get_or_insert_with(|| other.charter().clone()), &other)?;
        contacts.extend_from_slice(other.contacts());
    }
    let charter = charter.ok_or_else(|| Failure::new(Code::Usage, "neither --charter nor --and is given"))?;
    let mut made = Invitation::new(charter, contacts).map_err(|error| refused(&error))?;
    let mut relay = None;
    if args.relay {
        let secret = NodeSecret::from_seed(settings::random()?);
        relay = Some(secret.node_id());
        made = made.for_relay(secret);
    }
    let text = made.reveal();
    config::create_secret_file(&args.file, &format!("{}\n", text.as_str()))
        .map_err(|error| settings::secret(&error))?;
    if args.qr {
        terminal::say(&picture(&text)?);
    }
    if let Some(relay) = relay {
        terminal::say(&format!("{relay}\n"));
    }
    let what = if args.relay {
        "for one relay, whose name is above: admit it, and give the file to nobody else"
    } else {
        "for clients"
    };
    terminal::complain(&format!("Wrote {}: an invitation {what}.\n", args.file.display()));
    Ok(())
}

fn check_network(charter: &Charter, other: &Invitation) -> Outcome {
    if charter.network_id() == other.network_id() {
        return Ok(());
    }
    Err(Failure::new(Code::Data, "these invitations are of different networks").remedy("take those of one network"))
}

fn refused(error: &InvitationError) -> Failure {
    Failure::from_error(Code::Data, error)
        .remedy("a network with a directory is made by `hushwire network new --directory`")
}

/// The invitation as a picture of letters. In capitals it needs less room, and means the same.
fn picture(text: &str) -> Result<String, Failure> {
    let code = QrCode::new(text.to_ascii_uppercase());
    let code =
        code.map_err(|_| Failure::new(Code::Data, "an invitation with so many contacts is too long for a QR code"))?;
    Ok(code.render::<Dense1x2>().dark_color(Dense1x2::Light).light_color(Dense1x2::Dark).build() + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_has_the_corners_of_a_qr_code() {
        let shown = picture(&format!("hwjoin1{}", "abc7".repeat(240))).expect("it fits");
        let lines: Vec<&str> = shown.lines().collect();
        assert!(lines.len() > 40 && lines.iter().all(|line| line.chars().count() == lines[0].chars().count()));
        assert!(picture(&"a".repeat(5_000)).is_err());
    }
}
