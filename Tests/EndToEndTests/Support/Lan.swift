import Glibc
import SystemPackage
import Testing

/// How a host is reached in its own network.
struct Place {
    let address: String
    /// What goes before a command to run it there. Not `ip netns exec`, which would hide mounts from the tests.
    let enter: [String]
}

/// A LAN of network namespaces: one for each server and each client, and another with the bridge between them.
/// Each namespace lives as long as a process that sleeps in it.
final class Lan {
    /// What becomes of a host's link.
    enum Link: String, CaseIterable {
        case whole, cut
        /// It hears and is not heard.
        case mute
        /// It is heard and hears nothing.
        case deaf
        /// 4 Mbit/s each way.
        case slow
    }

    let servers: [Host]
    let clients: [Host]
    /// The first of them.
    var client: Host { clients[0] }
    private let bridge: Child
    private let namespaces: [Child]
    /// Of the bridge's namespace, and of each host's.
    private let bridgeShell: NamespaceShell
    private let shells: [NamespaceShell]

    static let canBeMade: Bool = {
        guard Machine.canMount, geteuid() == 0 else {
            print("networks of several hosts are not tested: they need root and mounts")
            return false
        }
        guard ["ip", "tc", "nsenter", "unshare"].allSatisfy(Machine.has) else { return false }
        let script = "ip link add v0 type veth peer name v1 && ip link add v2 type bridge"
        let child = try? Child(
            ["unshare", "--net", "sh", "-c", script + " && tc qdisc add dev v0 root blackhole"],
            environment: ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"], output: "/dev/null", errors: "/dev/null")
        guard child?.wait(.seconds(10)) == 0 else {
            print("networks of several hosts are not tested: this machine makes no network namespaces")
            return false
        }
        return true
    }()

    init(servers: Int, clients: Int, limit: Duration) throws {
        let bridge = try Self.namespace()
        var namespaces: [Child] = []
        do {
            try Self.script(
                in: bridge, "ip link set lo up; ip link add bridge type bridge mcast_snooping 0; ip link set bridge up")
            for number in 0..<clients + servers {
                let namespace = try Self.namespace()
                namespaces.append(namespace)
                try Self.script(
                    in: bridge,
                    """
                    ip link add port\(number) type veth peer name eth0 netns \(namespace.process)
                    ip link set port\(number) master bridge up
                    """)
                try Self.script(
                    in: namespace,
                    """
                    ip link set lo up
                    ip address add 10.44.0.\(number + 1)/24 broadcast + dev eth0
                    ip link set eth0 up
                    """)
            }
            let hosts = try namespaces.enumerated().map { try Host(limit: limit, place: Self.place($0, $1)) }
            (self.clients, self.servers) = (Array(hosts.prefix(clients)), Array(hosts.dropFirst(clients)))
            (self.bridge, self.namespaces) = (bridge, namespaces)
            bridgeShell = try NamespaceShell(Self.enter(bridge))
            shells = try namespaces.map { try NamespaceShell(Self.enter($0)) }
        } catch {
            for namespace in namespaces + [bridge] { namespace.killGroup() }
            throw error
        }
    }

    private static func place(_ number: Int, _ namespace: Child) -> Place {
        Place(address: "10.44.0.\(number + 1)", enter: enter(namespace))
    }

    private static func enter(_ namespace: Child) -> [String] { ["nsenter", "--net=/proc/\(namespace.process)/ns/net"] }

    private static func namespace() throws -> Child {
        let child = try Child(
            ["unshare", "--net", "sleep", "infinity"], environment: ["PATH=/usr/bin:/bin"], output: "/dev/null",
            errors: "/dev/null")
        let own = try linkTarget("/proc/self/ns/net")
        let isMade = eventually(.seconds(10)) {
            child.poll() != nil || (try? linkTarget("/proc/\(child.process)/ns/net")).map { $0 != own } ?? false
        }
        guard isMade, child.poll() == nil else {
            child.killGroup()
            throw Failure("no network namespace")
        }
        return child
    }

    private static func script(in namespace: Child, _ text: String) throws {
        let child = try Child(
            enter(namespace) + ["sh", "-e", "-c", text], environment: ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"],
            output: "/dev/null", errors: "/dev/null")
        guard child.wait(.seconds(20)) == 0 else { throw Failure("this failed: \(text)") }
    }

    /// Changes the link of a server, by its place in `servers`.
    func set(_ link: Link, of server: Int) throws { try set(link, ofHost: clients.count + server) }

    func set(_ link: Link, ofClient client: Int) throws { try set(link, ofHost: client) }

    private func set(_ link: Link, ofHost number: Int) throws {
        func queue(_ rule: String?) -> String {
            rule.map { "tc qdisc replace dev DEVICE root \($0)" } ?? "tc qdisc del dev DEVICE root 2> /dev/null || true"
        }
        let (sends, hears): (String?, String?) =
            switch link {
            case .whole: (nil, nil)
            case .cut: ("blackhole", "blackhole")
            case .mute: ("blackhole", nil)
            case .deaf: (nil, "blackhole")
            case .slow: ("tbf rate 4mbit burst 16kb latency 400ms", "tbf rate 4mbit burst 16kb latency 400ms")
            }
        let (host, port) = ("eth0", "port\(number)")
        try shells[number].run(queue(sends).replacing("DEVICE", with: host))
        try bridgeShell.run(queue(hears).replacing("DEVICE", with: port))
    }

    fileprivate func cleanUp() {
        for client in clients { client.cleanUp() }
        for server in servers { server.cleanUp() }
        for shell in shells + [bridgeShell] { shell.end() }
        for namespace in namespaces + [bridge] { try? namespace.killAndWait() }
    }

    fileprivate var logs: String {
        var text = clients.map(\.logs).joined()
        for (number, server) in servers.enumerated() { text += "\n== server \(number) \(server.logs)" }
        return text
    }
}

/// A shell in a namespace that is there before anything is mounted. A process that is started later has copies of all open files, and
/// closes them before it begins: on a client that is cut off that waits until the link is whole again, which it was to see to.
private final class NamespaceShell {
    private let folder: String
    private let child: Child
    private var count = 0

    init(_ enter: [String]) throws {
        var template = Array("/tmp/lanfs-shell-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else { throw Failure("no folder for a shell: \(errno)") }
        folder = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        try check(mkfifo(folder + "/scripts", 0o600))
        // Open for both, it waits for no writer and never ends.
        let loop = "exec 3<> \(folder)/scripts; while read -r n <&3; do sh -e \(folder)/$n; echo $? > \(folder)/$n.new; mv \(folder)/$n.new \(folder)/$n.done; done"
        child = try Child(
            enter + ["sh", "-c", loop], environment: ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"], output: "/dev/null", errors: "/dev/null")
    }

    func run(_ text: String) throws {
        count += 1
        let script = "\(folder)/\(count)"
        try writeFile(script, Array(text.utf8))
        try withFile(folder + "/scripts", O_WRONLY) { try writeAll($0, Array("\(count)\n".utf8)[...]) }
        let isDone = eventually(.seconds(20)) { access(script + ".done", F_OK) == 0 }
        guard isDone, try contents(script + ".done") == Array("0\n".utf8) else { throw Failure("this failed: \(text)") }
    }

    func end() {
        child.killGroup()
        for name in (try? names(in: folder)) ?? [] { unlink(folder + "/" + String(decoding: name, as: UTF8.self)) }
        rmdir(folder)
    }
}

/// Runs `body` on a new LAN with that many servers and clients, which have one key, and its volume mounted.
func onLan(
    servers: Int, clients: Int = 1, serve: [String] = [], mount: [String] = [], limit: Duration,
    location: SourceLocation = #_sourceLocation, _ body: (Lan) throws -> Void
) throws {
    try onLan(
        servers: servers, clients: clients, serve: Array(repeating: serve, count: servers), mount: mount, limit: limit,
        location: location, body)
}

/// - Parameter serve: what each of them is told.
func onLan(
    servers: Int, clients: Int = 1, serve: [[String]], mount: [String] = [], limit: Duration,
    location: SourceLocation = #_sourceLocation, _ body: (Lan) throws -> Void
) throws {
    let lan = try Lan(servers: servers, clients: clients, limit: limit)
    defer { lan.cleanUp() }
    do {
        let made = try lan.client.lanfs("keygen")
        guard made.status == 0 else { throw Failure("keygen: status \(made.status): \(made.errors)") }
        for (number, server) in lan.servers.enumerated() { try server.startServer(serve[number] + ["--name", "server\(number)"]) }
        try lan.client.startMount(mount)
        for other in lan.clients.dropFirst() {
            try other.takeKey(of: lan.client)
            try other.startMount(mount)
        }
        try body(lan)
    } catch is ExpectationFailedError {
        Issue.record("the logs of the failure above: \(lan.logs)", sourceLocation: location)
    } catch {
        Issue.record(error, "\(lan.logs)", sourceLocation: location)
    }
}
