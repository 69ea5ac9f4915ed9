import Glibc
import Synchronization
import SystemPackage
import Testing

/// The executable under test: `LANFS_BINARY`, else the one that was built, release before debug.
let binary: String? = {
    let root = #filePath.split(separator: "/").dropLast(4).reduce("") { $0 + "/" + $1 }
    let given = getenv("LANFS_BINARY").map { [String(cString: $0)] }
    let found = (given ?? [root + "/.build/release/lanfs", root + "/.build/debug/lanfs"]).first { access($0, X_OK) == 0 }
    if found == nil { print("nothing is tested end to end: no lanfs executable; run: swift build --product lanfs") }
    return found
}()

enum Machine {
    /// Whether this machine and user can mount: else the tests that mount are skipped, with the reason.
    static let canMount: Bool = {
        if binary == nil { return false }
        if access("/dev/fuse", R_OK | W_OK) != 0 {
            print("mounts are not tested end to end: /dev/fuse cannot be opened (\(Errno(rawValue: errno)))")
            return false
        }
        if geteuid() != 0, !has("fusermount3") {
            print("mounts are not tested end to end: neither root nor fusermount3")
            return false
        }
        return true
    }()

    static func has(_ tool: String) -> Bool {
        let path = getenv("PATH").map { String(cString: $0) } ?? "/usr/bin:/bin"
        if path.split(separator: ":").contains(where: { access($0 + "/" + tool, X_OK) == 0 }) { return true }
        print("what needs \(tool) is not tested: it is not installed")
        return false
    }
}

/// One machine with a home of its own: a server, a mount, and commands, all real processes.
final class Host {
    let folder: String
    let mountPoint: String
    let data: String
    /// Where its server listens.
    let address: String
    var discoveryPort: UInt16
    let commands: Commands
    /// The TCP port the server got.
    private(set) var serverPort: UInt16 = 0
    private(set) var server: Child?
    private(set) var mount: Child?
    private var members: [Int: Child] = [:]

    /// - Parameter place: its network; nil for that of this machine.
    init(limit: Duration, place: Place? = nil) throws {
        var template = Array("/tmp/lanfs-end-to-end-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else { throw Errno(rawValue: errno) }
        folder = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        (mountPoint, data) = (folder + "/mnt", folder + "/data")
        for name in ["mnt", "run", "logs", "local"] { try check(mkdir(folder + "/" + name, 0o700)) }
        address = place?.address ?? "127.0.0.1"
        discoveryPort = try place == nil ? freePort() : 4444
        commands = Commands(folder: folder, enter: place?.enter ?? [], limit)
    }

    /// A path in the mounted volume.
    func callAsFunction(_ name: String) -> String { mountPoint + "/" + name }

    /// A path outside of the volume.
    func local(_ name: String) -> String { folder + "/local/" + name }

    func makeKey() throws {
        let made = try lanfs("keygen")
        guard made.status == 0 else { throw Failure("keygen: status \(made.status): \(made.errors)") }
    }

    // MARK: The server

    private func serveArguments(_ extra: [String]) throws -> [String] {
        guard let binary else { throw Failure("no lanfs executable") }
        return [binary, "serve", "--listen", address, "--discovery-port", "\(discoveryPort)", "-d", data] + extra
    }

    /// - Parameter port: 0 for any, as the option has it.
    func startServer(port: UInt16 = 0, _ extra: [String] = []) throws {
        let before = readText(folder + "/logs/serve.err").utf8.count
        let child = try commands.start(try serveArguments(["--port", "\(port)"] + extra), log: "serve")
        server = child
        let mark = "address=\(address):"
        var found: Substring?
        let started = eventually(.seconds(20)) {
            let text = String(readText(child.errors).utf8.dropFirst(before)) ?? ""
            found = text.split(separator: " ").first { $0.hasPrefix(mark) }
            return found != nil || child.poll() != nil
        }
        guard started, let number = found.flatMap({ UInt16($0.dropFirst(mark.count)) }) else {
            throw Failure("the server does not start; its status is \(child.poll().map(String.init) ?? "running")")
        }
        serverPort = number
    }

    /// One more server, with data and a key of its own; the same one when its number was used before.
    @discardableResult
    func startMember(_ number: Int) throws -> Child {
        guard let binary else { throw Failure("no lanfs executable") }
        let child = try commands.start(
            [binary, "serve", "--listen", address, "--discovery-port", "\(discoveryPort)", "-d", data + "\(number)"],
            log: "member\(number)")
        members[number] = child
        guard eventually(.seconds(20), { readText(child.errors).contains("address=") || child.poll() != nil }),
            child.poll() == nil
        else { throw Failure("server \(number) does not start") }
        return child
    }

    func address(ofMember number: Int) -> String? {
        readText(folder + "/logs/member\(number).err").split(separator: " ").last { $0.hasPrefix("address=") }
            .map { String($0.dropFirst("address=".count).prefix { $0 != "\n" }) }
    }

    /// SIGTERM; the exit status, nil when it takes longer than a server may.
    @discardableResult
    func stopServer() -> Int32? {
        server?.signal(SIGTERM)
        return server?.wait(.seconds(5))
    }

    func killServer() throws { try server?.killAndWait() }

    /// Serves the same data once more, while the first server runs.
    func serveAgain() throws -> Output { try run(try serveArguments([]), limit: .seconds(20)) }

    // MARK: The mount

    var isMounted: Bool {
        readText("/proc/mounts").split(separator: "\n").contains { $0.contains(" \(mountPoint) fuse.lanfs") }
    }

    /// - Parameter server: where to look for the server; nil for discovery.
    func startMount(_ extra: [String] = []) throws {
        guard let binary else { throw Failure("no lanfs executable") }
        let arguments = [binary, "mount", "-f", "--create", "--discovery-port", "\(discoveryPort)"] + extra
        let child = try commands.start(arguments + [mountPoint], log: "mount")
        mount = child
        guard eventually(.seconds(20), { isMounted || child.poll() != nil }), child.poll() == nil else {
            throw Failure("the volume was not mounted; status \(child.poll().map(String.init) ?? "running")")
        }
    }

    /// Ends the mount as users do, and waits for its process, which then has saved everything.
    @discardableResult
    func unmount(limit: Duration = .seconds(30)) throws -> Int32 {
        let words = geteuid() == 0 ? ["umount", mountPoint] : ["fusermount3", "-u", mountPoint]
        let result = try run(words, limit: .seconds(20))
        guard result.status == 0 else { throw Failure("umount says: \(result.errors)") }
        if let status = mount?.wait(limit) {
            mount = nil
            return status
        }
        // A mount namespace that somebody cloned meanwhile keeps the kernel's connection, and with it this process, until it
        // ends. Whether everything was saved is for the test to see; it goes on without the process.
        print("the mount of \(mountPoint) was gone \(limit) after umount, and its process was not: killed")
        try mount?.killAndWait()
        mount = nil
        return 0
    }

    func remount() throws {
        let status = try unmount()
        guard status == 0 else { throw Failure("the mount ended with status \(status)") }
        try startMount()
    }

    /// kill -9, and what the kernel still shows of the mount is taken away.
    func killMount() throws {
        try mount?.killAndWait()
        mount = nil
        try detach()
    }

    private func detach() throws {
        guard isMounted else { return }
        let words = geteuid() == 0 ? ["umount", "-l", mountPoint] : ["fusermount3", "-uz", mountPoint]
        _ = try run(words, limit: .seconds(20))
    }

    // MARK: Commands

    func run(
        _ arguments: [String], home: String? = nil, input: String? = nil, limit: Duration = .seconds(60)
    ) throws -> Output {
        try commands.run(arguments, home: home, input: input, limit: limit)
    }

    @discardableResult
    func tool(_ arguments: String..., input: String? = nil, limit: Duration = .seconds(60)) throws -> String {
        try commands.tool(arguments, input: input, limit: limit)
    }

    func lanfs(
        _ command: String, _ arguments: String..., home: String? = nil, port: UInt16? = nil, input: String? = nil
    ) throws -> Output {
        guard let binary else { throw Failure("no lanfs executable") }
        let discovery = command == "keygen" ? [] : ["--discovery-port", "\(port ?? discoveryPort)"]
        return try run([binary, command] + discovery + arguments, home: home, input: input)
    }

    /// What the server and the mount said: it goes into the message of a failure.
    var logs: String {
        var text = commands.isTooLate ? "\n== the test took longer than it may; its processes were killed" : ""
        for name in ["serve", "mount"] {
            text += "\n== \(name)\n\(readText("\(folder)/logs/\(name).err").suffix(6000))"
        }
        return text
    }

    var mountLog: String { readText(folder + "/logs/mount.err") }

    func cleanUp() {
        commands.stopWatching()
        mount?.killGroup()
        server?.killGroup()
        for member in members.values { member.killGroup() }
        _ = mount?.wait(.seconds(10))
        _ = server?.wait(.seconds(10))
        for member in members.values { _ = member.wait(.seconds(10)) }
        try? detach()
        if let keep = getenv("LANFS_LOGS").map({ String(cString: $0) }) { _ = try? run(["cp", "-r", folder + "/logs", keep + "/" + address]) }
        // Never into a volume that is still mounted.
        if !isMounted { _ = try? run(["rm", "-rf", "--one-file-system", folder]) }
    }
}

/// Runs `body` on a new host with a key, and a server and a mount when they are asked for. What the two said is in the
/// message of a failure; nothing is left behind.
func onHost(
    serve: [String]? = [], mount: Bool = true, limit: Duration = .seconds(120),
    location: SourceLocation = #_sourceLocation, _ body: (Host) throws -> Void
) throws {
    let host = try Host(limit: limit)
    defer { host.cleanUp() }
    do {
        try host.makeKey()
        if let serve { try host.startServer(serve) }
        if mount { try host.startMount() }
        try body(host)
    } catch is ExpectationFailedError {
        Issue.record("the logs of the failure above: \(host.logs)", sourceLocation: location)
    } catch {
        Issue.record(error, "\(host.logs)", sourceLocation: location)
    }
}

/// Runs `body` on several hosts at a time; it gets their numbers.
func onVolumes(
    _ count: Int, limit: Duration, location: SourceLocation = #_sourceLocation,
    _ body: @escaping @Sendable (Host, Int) throws -> Void
) async throws {
    try await withThrowingTaskGroup { group in
        for number in 0..<count {
            group.addTask(executorPreference: ThreadExecutor()) {
                try onHost(limit: limit, location: location) { try body($0, number) }
            }
        }
        try await group.waitForAll()
    }
}

/// A UDP port of this machine that nobody uses.
func freePort() throws -> UInt16 {
    let descriptor = try check(socket(AF_INET, Int32(SOCK_DGRAM.rawValue), 0))
    defer { close(descriptor) }
    return try bindLoopback(descriptor)
}

/// Binds to any free port of 127.0.0.1, and tells which.
func bindLoopback(_ descriptor: Int32) throws -> UInt16 {
    var address = loopback(port: 0)
    var size = socklen_t(MemoryLayout<sockaddr_in>.size)
    try withUnsafeMutablePointer(to: &address) { pointer in
        _ = try pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { raw in
            try check(bind(descriptor, raw, size))
            return try check(getsockname(descriptor, raw, &size))
        }
    }
    return UInt16(bigEndian: address.sin_port)
}

func loopback(port: UInt16) -> sockaddr_in {
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = port.bigEndian
    address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
    return address
}
