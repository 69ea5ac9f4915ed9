import Glibc
import Testing

extension Posix {
    @Suite("a read-only mount") struct ReadOnly {
        @Test("everything can be read, and every change is refused")
        func refuses() throws {
            let host = try Host(limit: .seconds(60))
            defer { host.cleanUp() }
            if Ground.folder == nil {
                try host.makeKey()
                try host.startServer()
                try host.startMount()
                try calls(in: host.mountPoint) {
                    _ = try host.unmount()
                    try host.startMount(["--read-only"])
                }
            } else {
                try host.tool("mount", "--bind", Ground.path, host.mountPoint)
                defer { _ = try? host.tool("umount", host.mountPoint) }
                try calls(in: host.mountPoint) { try host.tool("mount", "-o", "remount,bind,ro", host.mountPoint) }
            }
        }

        private func calls(in path: String, _ makeReadOnly: () throws -> Void) throws {
            var prepared: [(PathCall, Folder)] = []
            try Ground.$path.withValue(path) {
                try PathCall.each(PathCall.all) { call, here in
                    try call.prepare(here("it"))
                    prepared.append((call, here))
                }
            }
            try makeReadOnly()
            let changing = PathCall.changing.map(\.description)
            for (call, here) in prepared {
                expect(changing.contains(call.description) ? EROFS : OK, call(here("it"), here), "\(call)")
                #expect(exists(here("it")) == (call.needs != nil), "\(call)")
            }
        }
    }
}
