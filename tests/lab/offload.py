"""Networks whose packets take another way than a router's: flowtables and IPVS."""

import dataclasses
import pathlib
import re

from deployments import DEPLOYMENTS, PORTS, REPOSITORY
from networks import Network, nft
from servers import cache_root, library_path
from shell import LabError, run, run_tool, write_sysctls
from topology import GATEWAY_WAN4, INSIDE2

# --- flowtables ---

# The structure of OpenWrt's fw4, whose own line offloads everything.
FLOWTABLE_RULES = """
    table inet fw4 {{
      flowtable ft {{
        hook ingress priority 0
        devices = {{ lan, wan }}
      }}
      chain forward {{
        type filter hook forward priority filter - 1
        {line}
      }}
    }}
    """
OFFLOADS_ALL = "meta l4proto { tcp, udp } flow add @ft"
# Where operators read the line that keeps control connections out.
DOCUMENTS = (
    "docs/troubleshooting.md",
    "rules/routing-firewall.nft",
    "rules/related/routing-firewall.nft",
)


def documented_line(document):
    """The line for flowtables as a document prints it, for the flowtable `ft`."""
    text = pathlib.Path(REPOSITORY, document).read_text()
    lines = re.findall(r"^[#\s]*(meta .*flow add @\w+)$", text, re.MULTILINE)
    if len(lines) != 1:
        raise LabError(f"{document} prints {len(lines)} lines with `flow add`")
    return re.sub(r"@\w+$", "@ft", lines[0])


def documented():
    lines = {documented_line(document) for document in DOCUMENTS}
    if len(lines) != 1:
        raise LabError(f"the documents print different lines for flowtables: {lines}")
    return lines.pop()


def flowtable(line):
    """Loads the flowtable; the line is read when it is loaded, because a document has it."""
    return lambda gateway: nft(FLOWTABLE_RULES.format(line=line()))(gateway)


FLOWTABLE = Network(
    "flowtable",
    ("inside-client", "inside-server"),
    ("routed6-client",),
    load=flowtable(documented),
    stock=True,
)
OFFLOADED = Network(
    "offload-all",
    ("inside-client", "inside-server"),
    load=flowtable(lambda: OFFLOADS_ALL),
    stock=True,
)

# --- IPVS ---


def load_ipvs(gateway):
    """The outside address as a virtual service, with NAT to the server."""
    # The kernel has the setting once it has the module.
    run(["modprobe", "-qa", "ip_vs", "ip_vs_rr"], check=False)
    write_sysctls(gateway, ("net.ipv4.vs.conntrack=1",))
    ipvsadm = [str(cache_root() / "sbin/ipvsadm")]
    environment = {"LD_LIBRARY_PATH": library_path()}
    service = ["-t", f"{GATEWAY_WAN4}:21"]
    for more in (["-A", *service, "-s", "rr"], ["-a", *service, "-r", INSIDE2.private4, "-m"]):
        run_tool([*ipvsadm, *more], namespace=gateway, env=environment)


IPVS = Network(
    "ipvs",
    (dataclasses.replace(DEPLOYMENTS["inside-server"], prerouting="", forward=""),),
    load=load_ipvs,
    # IPVS takes what is for the gateway, and sends it on from there.
    lines=(
        ("input", f"iifname wan tcp dport {PORTS} ct state new accept"),
        ("output", f"oifname lan tcp dport {PORTS} accept"),
    ),
    stock=True,
)
