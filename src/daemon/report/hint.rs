//! What the log says beside a refusal: what is wrong, and what would change it.

use crate::proto::{event::AnnouncementReport, session::endpoint_check::Refusal};

/// Why a connection may be taken for no FTP, and what would change it.
pub(super) const NOT_FTP: &str =
    "if its server is one of FTP all the same, name it in `policy.unproven_servers`";

/// Why an announcement was refused, and what would change it.
pub(super) const fn hint_on_refusal(refusal: Refusal, report: &AnnouncementReport) -> &'static str {
    match refusal {
        Refusal::ThirdPartyAddress => hint_on_address(report),
        Refusal::PrivilegedPort => {
            "its port is below 1024; if that is meant, name the host in `policy.privileged_ports`"
        }
        Refusal::NotFtp => NOT_FTP,
        Refusal::NotLoggedIn => {
            "the server has not let the user in; if it needs no login, name it in \
             `policy.unproven_servers`"
        }
        Refusal::AfterTls => {
            "the session was encrypted before; if its server is trusted, name it in \
             `policy.unproven_servers`"
        }
        Refusal::UnsolicitedReply => {
            "no PASV, EPSV or LPSV waits for it; if the server says it unasked, name it in \
             `policy.unsolicited_replies`"
        }
        Refusal::Malformed => {
            "it has no endpoint, or two readers could read two; only the program that wrote it can \
             change that"
        }
        Refusal::OtherDialect => {
            "it names several endpoints, or none that can be known; the client has to use PORT or \
             PASV"
        }
        Refusal::AfterEpsvAll => {
            "the client had promised to use EPSV alone; if it does not mean that, name its server \
             in `policy.after_epsv_all`"
        }
        Refusal::TooManyUnanswered => "the server owes too many answers; the client has to wait",
        Refusal::TooManyOpenings => {
            "more than `limits.session_openings` or `limits.host_openings` allows"
        }
        Refusal::AlreadyForwarded => "part of the line had left before its end came",
        Refusal::Closing => "an end has closed the connection already",
        Refusal::NoFreePort => "no port of `nat.ports` is free: make the range wider",
        Refusal::TooManyEdits => {
            "too many rewritten lines are not acknowledged; the client has to wait"
        }
        Refusal::WindowNotRelaxed => {
            "conntrack refuses to accept a line of another length: see the lines about labels and \
             netlink"
        }
        Refusal::Kernel(_) => "the kernel has not taken the expectation",
    }
}

/// What may be the reason for an address that is not the announcer's own, and what would help.
pub(super) const fn hint_on_address(report: &AnnouncementReport) -> &'static str {
    if report.is_of_this_machine {
        "this machine is an end of the connection, and has no such address; if a proxy on it \
         (Docker's userland-proxy) makes two connections of one, let the kernel forward the port \
         instead"
    } else {
        "if it is this gateway's address behind another router, name it in `nat.public`; if the \
         transfer is between two servers, name the host in `policy.third_party_data`"
    }
}
