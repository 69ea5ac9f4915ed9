import CFuse
import Glibc
import SystemPackage

/// fusermount3, the helper with root's rights that mounts for ordinary users.
enum Fusermount {
    /// Mounts and hands back the connection to the kernel; `keepAlive` stays open as long as the mount when the helper
    /// watches over it (auto_unmount).
    static func mount(on path: String, options: [String], watched: Bool) throws(MountError)
        -> (connection: Int32, keepAlive: Int32?)
    {
        let (ours, theirs) = try makeStream()
        var keepsChannel = false
        defer { if !keepsChannel { close(ours) } }

        let run: HelperRun
        do {
            defer { close(theirs) }
            run = try HelperRun(arguments: ["-o", options.joined(separator: ","), "--", path], inheriting: theirs)
        }
        let connection = lanfs_receive_descriptor(ours)
        if connection >= 0, watched {
            keepsChannel = true
            run.leaveRunning()
            return (connection, ours)
        }
        let (status, words) = run.wait()
        guard connection >= 0 else {
            throw .helperRefused(words.isEmpty ? "exit status \(status)" : words)
        }
        return (connection, nil)
    }

    /// Takes the mount out of the tree at once, whoever still uses it. Returns fusermount3's complaint, nil when done.
    static func detach(_ path: String) -> String? {
        do {
            let (status, words) = try HelperRun(arguments: ["-u", "-z", "--", path], inheriting: nil).wait()
            return status == 0 ? nil : words.isEmpty ? "exit status \(status)" : words
        } catch {
            return "\(error)"
        }
    }
}

/// One run of the helper, its complaints collected.
private struct HelperRun {
    private var process: pid_t
    private var errors: Int32

    init(arguments: [String], inheriting descriptor: Int32?) throws(MountError) {
        let (complaints, stderr) = try makeStream()
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_adddup2(&actions, stderr, STDERR_FILENO)
        // Onto itself: only takes close-on-exec off.
        if let descriptor { posix_spawn_file_actions_adddup2(&actions, descriptor, descriptor) }

        // The helper must see termination signals as usual, whatever this thread has blocked.
        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        var none = sigset_t()
        sigemptyset(&none)
        posix_spawnattr_setsigmask(&attributes, &none)
        posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGMASK))

        // A clean environment: the helper is setuid root.
        var environment = ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C"]
        if let descriptor { environment.append("_FUSE_COMMFD=\(descriptor)") }
        let status = withCStrings(["fusermount3"] + arguments) { argv in
            withCStrings(environment) { envp in
                var process = pid_t()
                var status = ENOENT
                for directory in ["/usr/bin", "/bin", "/usr/local/bin", "/run/wrappers/bin"] where status == ENOENT {
                    status = posix_spawn(&process, directory + "/fusermount3", &actions, &attributes, argv, envp)
                }
                return (status, process)
            }
        }
        close(stderr)
        guard status.0 == 0 else {
            close(complaints)
            throw .helperMissing
        }
        process = status.1
        errors = complaints
    }

    /// The helper watches over the mount from now on.
    func leaveRunning() { close(errors) }

    func wait() -> (status: Int32, words: String) {
        var words: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 1024)
        while words.count < 4096 {
            let count = read(errors, &buffer, buffer.count)
            if count < 0, errno == EINTR { continue }
            if count <= 0 { break }
            words += buffer[..<count]
        }
        close(errors)
        var status: Int32 = 0
        while waitpid(process, &status, 0) < 0, errno == EINTR {}
        let lines = String(decoding: words, as: UTF8.self).split(separator: "\n").map { line in
            line.hasPrefix("fusermount3: ") ? String(line.dropFirst("fusermount3: ".count)) : String(line)
        }
        let code = status & 0x7f == 0 ? (status >> 8) & 0xff : 128 + (status & 0x7f)
        return (code, lines.joined(separator: "; "))
    }
}

private func withCStrings<Result>(
    _ strings: [String], _ body: ([UnsafeMutablePointer<CChar>?]) -> Result
) -> Result {
    let copies = strings.map { strdup($0) }
    defer { copies.forEach { free($0) } }
    return body(copies + [nil])
}
