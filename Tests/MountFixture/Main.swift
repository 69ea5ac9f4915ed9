import Glibc
import LanfsMount

/// Mounts a file system in memory: `mount-fixture [-f] [-d] [-o OPTIONS] [-t THREADS] FOLDER`.
///
/// `mount-fixture lock FILE` locks the file with fcntl(2), says so, and keeps the lock until its input ends.
///
/// `-f` stays in the foreground, `-d` answers every request from a task. Tests start it to kill it, and to see it go to
/// the background; measurements to know the bridge's own limits.
@main
enum MountFixture {
    static func main() {
        let words = CommandLine.arguments
        if words.count == 3, words[1] == "lock" { holdLock(words[2]) }
        mount()
    }

    private static func holdLock(_ path: String) -> Never {
        let file = open(path, O_RDWR)
        var lock = flock()
        lock.l_type = Int16(F_WRLCK)
        guard file >= 0, fcntl(file, F_SETLKW, &lock) == 0 else { exit(1) }
        _ = write(STDOUT_FILENO, "locked\n", 7)
        var byte: UInt8 = 0
        _ = read(STDIN_FILENO, &byte, 1)
        exit(0)
    }

    private static func mount() {
        var options = MountOptions(volumeName: "memory", cache: .solo)
        var foreground = false
        var delayed = false
        var folder: String?
        var arguments = CommandLine.arguments.dropFirst()
        do {
            while let argument = arguments.popFirst() {
                switch argument {
                case "-f": foreground = true
                case "-d": delayed = true
                case "-s": options.cache = .shared
                case "-o": try options.apply(arguments.popFirst() ?? "")
                case "-t": options.threads = arguments.popFirst().flatMap { Int($0) } ?? 1
                default: folder = argument
                }
            }
        } catch {
            print("\(error)")
            exit(2)
        }
        guard let folder else {
            print("usage: mount-fixture [-f] [-d] [-s] [-o OPTIONS] [-t THREADS] FOLDER")
            exit(2)
        }
        Signals.block()
        let daemon = Daemon.start(foreground: foreground)
        // After the fork: the pool's threads exist in this process only.
        Task.detached { [options, delayed] in
            do {
                let session = try MountSession.mount(MemoryFileSystem(delayed: delayed), on: folder, options: options)
                try await session.waitUntilAnswering()
                try Signals.watch { _ in session.unmount() }
                try daemon.ready()
                let end = await session.waitUntilUnmounted()
                exit(end == .requested || end == .external ? 0 : 1)
            } catch {
                daemon.fail("\(error)")
            }
        }
        while true { pause() }
    }
}
