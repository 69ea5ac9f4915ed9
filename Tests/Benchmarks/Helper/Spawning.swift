import Glibc
import Synchronization

/// Runs a program of somebody else, its output thrown away; prints the seconds it took and its peak memory in KiB. Arguments: PROGRAM ARGUMENT...
enum Spawning {
    private static let running = Atomic<Int32>(0)

    /// The program under way, leader of its own process group.
    static var child: pid_t? {
        let child = running.load(ordering: .acquiring)
        return child == 0 ? nil : child
    }

    static func run(_ arguments: inout Arguments) throws(Failure) {
        let words = Array(arguments.rest)
        guard let program = words.first else { throw Failure("no program is given") }
        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        posix_spawnattr_setpgroup(&attributes, 0)
        posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETPGROUP))
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0)
        var pointers: [UnsafeMutablePointer<CChar>?] = words.map { strdup($0) }
        pointers.append(nil)
        let start = now()
        var pid = pid_t()
        let error = posix_spawnp(&pid, program, &actions, &attributes, pointers, environ)
        guard error == 0 else { throw Failure("\(program): \(String(cString: strerror(error)))") }
        running.store(pid, ordering: .releasing)
        var status: Int32 = 0
        var usage = rusage()
        while wait4(pid, &status, 0, &usage) < 0 {
            guard errno == EINTR else { throw Failure("wait", program) }
        }
        running.store(0, ordering: .releasing)
        let seconds = now() - start
        guard status == 0 else { throw Failure("\(words.joined(separator: " ")): failed with status \(status)") }
        print(seconds, usage.ru_maxrss)
    }
}
