//! `hushwire pki init|request|sign|issue|renew|revoke|show`.

use crate::args::pki::{
    PkiCommand, PkiInitArgs, PkiIssueArgs, PkiRenewArgs, PkiRequestArgs, PkiRevokeArgs, PkiSignArgs, RootArgs,
};
use crate::budget::unix_s;
use crate::failure::{Code, Failure, Outcome};
use crate::settings;
use crate::terminal;
use cluster_node::member::{MemberName, parse_revoked};
use cluster_node::pki::{CertificateInfo, Issued, PkiError, ReadError, Request, Root, request, utc_text};
use identity::NodeId;
use std::fmt::Write as _;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// Names in the folder of a root.
const ROOT_KEY: &str = "root.key";
const ROOT_CERTIFICATE: &str = "root.crt";
const REVOKED: &str = "revoked";

pub(crate) fn run(command: PkiCommand) -> Outcome {
    match command {
        PkiCommand::Init(args) => init(&args),
        PkiCommand::Request(args) => ask(&args),
        PkiCommand::Sign(args) => sign(&args),
        PkiCommand::Issue(args) => issue(&args),
        PkiCommand::Renew(args) => renew(&args),
        PkiCommand::Revoke(args) => revoke(&args),
        PkiCommand::Show { files } => files.iter().try_for_each(|file| show(file)),
    }
}

fn init(args: &PkiInitArgs) -> Outcome {
    let root = Root::generate(&args.name, &args.domain, unix_s(), args.days).map_err(|error| refused(&error))?;
    let cluster: [u8; 32] = settings::random()?;
    let folder = &args.root.dir;
    DirBuilder::new()
        .mode(0o700)
        .recursive(true)
        .create(folder)
        .map_err(|error| Failure::io(format_args!("cannot make {}", folder.display()), &error))?;
    let key = folder.join(ROOT_KEY);
    config::create_secret_file(&key, &root.reveal_key()).map_err(|error| settings::secret(&error))?;
    let certificate = folder.join(ROOT_CERTIFICATE);
    create(&certificate, root.certificate())?;
    let digits: String = cluster.iter().map(|byte| format!("{byte:02x}")).collect();
    terminal::say(&format!("{}cluster = \"{digits}\"\n", described(root.info())));
    terminal::complain(&format!(
        "Wrote {} and {}. Whoever has the key can make members: keep it where no network is, and a copy of it. Every node \
         gets the certificate and the line with `cluster`.\n",
        key.display(),
        certificate.display()
    ));
    Ok(())
}

fn ask(args: &PkiRequestArgs) -> Outcome {
    let node = settings::keys(&args.keys)?.node_secret;
    let text = request(&node, &args.name).map_err(|error| refused(&error))?;
    terminal::complain(&format!("A request of {}. Whoever signs it compares this id.\n", node.node_id()));
    terminal::say(&text);
    Ok(())
}

fn sign(args: &PkiSignArgs) -> Outcome {
    let text = read(&args.request)?;
    let request = Request::from_pem(&text).map_err(|error| unreadable(&args.request, error))?;
    make(&args.root, request.node_id, &request.name, &args.out, args.days.days)
}

fn issue(args: &PkiIssueArgs) -> Outcome {
    make(&args.root, args.node_id, &args.name, &args.out, args.days.days)
}

fn make(root: &RootArgs, node: NodeId, name: &MemberName, out: &Path, days: u16) -> Outcome {
    let issued = signed(root, node, name, days)?;
    create(out, &issued.certificate)?;
    terminal::say(&described(&issued.info));
    terminal::complain(&format!("Wrote {}. It is no secret; the node needs it beside its keys.\n", out.display()));
    Ok(())
}

fn renew(args: &PkiRenewArgs) -> Outcome {
    let path = &args.certificate;
    let info = CertificateInfo::from_pem(&read(path)?).map_err(|error| unreadable(path, error))?;
    let (Some(node), [name], false) = (info.node_id, info.names.as_slice(), info.is_authority) else {
        return Err(Failure::new(Code::Data, format!("{} is no certificate of a node", path.display()))
            .remedy("name one that `hushwire pki sign` made"));
    };
    let name = name.parse().map_err(|_| unreadable(path, ReadError::Name))?;
    let issued = signed(&args.root, node, &name, args.days.days)?;
    replace(path, &issued.certificate)?;
    terminal::say(&described(&issued.info));
    terminal::complain(&format!("Replaced {}.\n", path.display()));
    Ok(())
}

fn revoke(args: &PkiRevokeArgs) -> Outcome {
    // Only whoever has the root may say who is out.
    load(&args.root)?;
    let path = args.root.dir.join(REVOKED);
    let mut text = revoked_text(&path)?;
    let known = parse_revoked(&text).map_err(|line| bad_revoked(&path, line))?;
    if !known.contains(&args.node_id) {
        let _ = writeln!(text, "{}", args.node_id);
        replace(&path, &text)?;
    }
    terminal::complain(&format!(
        "{} has the node id. It is let in until the members know:\n\
         \x20 1. copy that file to every member's `revoked_file`, or take its [[members]] table out of every configuration;\n\
         \x20 2. a member that runs ends the node's connection within ten seconds after that, or at once on SIGHUP;\n\
         \x20 3. take its vote with `hushwire cluster member remove`.\n\
         The root signs nothing for this node id again.\n",
        path.display()
    ));
    Ok(())
}

fn show(path: &Path) -> Outcome {
    let text = read(path)?;
    if let Ok(request) = Request::from_pem(&text) {
        terminal::say(&format!("request    for {}\nnode id    {}\n", request.name, request.node_id));
        return Ok(());
    }
    let info = CertificateInfo::from_pem(&text).map_err(|error| unreadable(path, error))?;
    let mut shown = described(&info);
    if let (Some(node), [name], false) = (info.node_id, info.names.as_slice(), info.is_authority) {
        let _ = write!(shown, "\n[[members]]\nnode_id = \"{node}\"\nname = \"{name}\"\naddress = \"{name}:4500\"\n");
    }
    terminal::say(&shown);
    Ok(())
}

fn described(info: &CertificateInfo) -> String {
    let mut text = format!("{}  {}\n", if info.is_authority { "root     " } else { "node     " }, info.subject);
    if let (Some(node), false) = (info.node_id, info.is_authority) {
        let _ = writeln!(text, "node id    {node}");
    }
    if !info.domains.is_empty() {
        let _ = writeln!(text, "only for   {}", info.domains.join(", "));
    }
    let _ = writeln!(text, "good       {} to {}", utc_text(info.not_before_s), utc_text(info.not_after_s));
    let _ = writeln!(text, "SHA-256    {}", info.fingerprint_text());
    text
}

fn load(args: &RootArgs) -> Result<Root, Failure> {
    let (key, certificate) = (args.dir.join(ROOT_KEY), args.dir.join(ROOT_CERTIFICATE));
    // The first thing that is looked at: nothing is signed with a key that others could have read.
    let secret = config::read_secret_file(&key).map_err(|error| match error {
        config::SecretFileError::System { ref source, .. } if source.kind() == ErrorKind::NotFound => {
            Failure::io(&error, source)
                .remedy("name the root's folder with --dir, or make one with `hushwire pki init`")
        }
        error => settings::secret(&error),
    })?;
    Root::from_pem(&read(&certificate)?, &zeroize::Zeroizing::new(secret)).map_err(|error| refused(&error))
}

fn signed(args: &RootArgs, node: NodeId, name: &MemberName, days: u16) -> Result<Issued, Failure> {
    let root = load(args)?;
    let path = args.dir.join(REVOKED);
    let revoked = parse_revoked(&revoked_text(&path)?).map_err(|line| bad_revoked(&path, line))?;
    if revoked.contains(&node) {
        return Err(Failure::new(Code::Data, format!("{node} is revoked in {}", path.display()))
            .remedy("make the node new keys with `hushwire keys new`: a node id that is out stays out"));
    }
    root.issue(node, name, unix_s(), days).map_err(|error| refused(&error))
}

fn revoked_text(path: &Path) -> Result<String, Failure> {
    match std::fs::read_to_string(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(String::new()),
        other => other.map_err(|error| Failure::io(format_args!("cannot read {}", path.display()), &error)),
    }
}

fn bad_revoked(path: &Path, line: usize) -> Failure {
    Failure::new(Code::Data, format!("{}, line {line}: not a node id", path.display()))
        .remedy("correct or remove the line; each is one node id")
}

fn read(path: &Path) -> Result<String, Failure> {
    let text = std::fs::read_to_string(path);
    text.map_err(|error| Failure::io(format_args!("cannot read {}", path.display()), &error).remedy("check the path"))
}

/// Makes a file that is not there yet.
fn create(path: &Path, text: &str) -> Outcome {
    let failed = |error| {
        Failure::io(format_args!("cannot make {}", path.display()), &error)
            .remedy("choose another name; nothing is overwritten")
    };
    let mut file = OpenOptions::new().write(true).create_new(true).open(path).map_err(failed)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)
}

/// Puts a whole new file in the place of another one.
fn replace(path: &Path, text: &str) -> Outcome {
    let failed = |error| Failure::io(format_args!("cannot replace {}", path.display()), &error);
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    let mut file = File::create(&beside).map_err(failed)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
    std::fs::rename(&beside, path).map_err(failed)
}

fn unreadable(path: &Path, error: ReadError) -> Failure {
    Failure::new(Code::Data, format!("{} cannot be used: {error}", path.display()))
        .remedy("name a file that `hushwire pki` made, or copy it again")
}

fn refused(error: &PkiError) -> Failure {
    let (code, remedy) = match error {
        PkiError::RootName => (Code::Usage, "give another --name"),
        PkiError::OutsideDomains => {
            (Code::Usage, "choose a name below one of the domains that `hushwire pki show` prints")
        }
        PkiError::RootEnds => {
            (Code::Data, "give fewer --days, or make another root and let every node trust both for a while")
        }
        PkiError::RootKey | PkiError::Root(_) => (Code::Data, "restore root.key and root.crt from a copy"),
        PkiError::Date => (Code::System, "set the clock"),
        PkiError::Sign => (Code::System, "try again"),
    };
    Failure::new(code, error.to_string()).remedy(remedy)
}
