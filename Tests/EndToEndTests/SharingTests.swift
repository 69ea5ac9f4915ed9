import Glibc
import Synchronization
import Testing

@Suite("One volume, mounted twice", .serialized, .enabled(if: Machine.canMount))
struct SharingTests {
    @Test("what one saves the other sees, without being asked for it: names, sizes, contents, what is gone")
    func seen() throws {
        try onTwoMounts { first, second in
            try writeFile(first("file"), [1, 2, 3], sync: true)
            try #require(eventually(.seconds(5)) { (try? contents(second("file"))) == [1, 2, 3] })
            for round in 0..<10 {
                // What the kernel remembers of it is no longer true.
                let bytes = randomBytes(1000 * (round + 1), seed: UInt64(round))
                try writeFile((round % 2 == 0 ? first : second)("file"), bytes, sync: true)
                let other = round % 2 == 0 ? second : first
                try #require(eventually(.seconds(5)) { (try? contents(other("file"))) == bytes }, "round \(round)")
            }
            try check(mkdir(second("folder"), 0o755))
            try check(rename(second("file"), second("folder/moved")))
            try #require(eventually(.seconds(5)) { access(first("folder/moved"), F_OK) == 0 })
            try #require(eventually(.seconds(5)) { access(first("file"), F_OK) != 0 })
            try check(unlink(first("folder/moved")))
            try check(rmdir(first("folder")))
            try #require(eventually(.seconds(5)) { access(second("folder"), F_OK) != 0 })
        }
    }

    @Test("what was closed by one is what the other opens, at once, and replaced and new files as well")
    func closeToOpen() throws {
        try onTwoMounts { first, second in
            for round in 0..<150 {
                let (writer, reader) = round % 2 == 0 ? (first, second) : (second, first)
                let bytes = randomBytes(50 + 37 * round, seed: UInt64(round))
                switch round % 3 {
                case 0: try writeFile(writer("same"), bytes)
                case 1:
                    try writeFile(writer("other"), bytes)
                    try check(rename(writer("other"), writer("same")))
                default: try writeFile(writer("new \(round)"), bytes)
                }
                let name = round % 3 == 2 ? "new \(round)" : "same"
                // A rename is no close: it is saved by the next one, or within a second.
                if round % 3 == 1 { try writeFile(writer("mark"), [1]) }
                try #require(try contents(reader(name)) == bytes, "round \(round)")
            }
        }
    }

    /// A listing tells the kernel of names as looking them up does.
    @Test("names that were listed a moment ago are soon what another machine makes of them")
    func renamedWhileListed() throws {
        try onTwoMounts { first, second in
            // Both have written: each knows that it is not alone.
            try writeFile(first("0"), [1], sync: true)
            try writeFile(second("0"), [2], sync: true)
            for round in 0..<10 {
                try #require(eventually(.seconds(5)) { (try? names(in: second(""))) == [Array("\(round)".utf8)] })
                try check(rename(first("\(round)"), first("\(round + 1)")))
                try #require(
                    eventually(.milliseconds(700), every: 1000) {
                        access(second("\(round)"), F_OK) != 0 && access(second("\(round + 1)"), F_OK) == 0
                    }, "round \(round)")
            }
        }
    }

    /// As editors do that keep the old version. The kernel has just looked the name up.
    @Test("a name that another machine gave to a new file is not opened, or cut off, as the old one, which has another name now")
    func replacedWhileLookedUp() throws {
        try onTwoMounts { first, second in
            for round in 0..<20 {
                let (name, backup) = ("doc \(round)", "doc \(round)~")
                try writeFile(first(name), Array("old".utf8))
                try writeFile(second("other"), Array("the new one".utf8))
                _ = try status(first(name))
                try check(link(second(name), second(backup)))
                _ = try status(first(name))
                try check(rename(second("other"), second(name)))
                if round % 2 == 0 {
                    try #require(try contents(first(name)) == Array("the new one".utf8), "round \(round)")
                    try writeFile(first(name), Array("edit".utf8))
                } else {
                    try check(truncate(first(name), 7))
                }
                try #require(try contents(first(name)) == Array((round % 2 == 0 ? "edit" : "the new").utf8), "round \(round)")
                try #require(try contents(first(backup)) == Array("old".utf8), "round \(round)")
            }
        }
    }

    /// As when a new version of a folder is put in its place. One that opens is not to use up what another needs to be told.
    @Test("nor is what is in a folder that was replaced, whoever else opens it")
    func replacedAbove() throws {
        try onTwoMounts(limit: .seconds(180)) { first, second in
            for name in ["link", "folder"] {
                try check(mkdir(second("\(name) 0"), 0o755))
                try writeFile(second("\(name) 0/f"), Array("0".utf8), sync: true)
                if name == "link" {
                    try check(symlink("link 0", second("current link")))
                } else {
                    try check(rename(second("folder 0"), second("current folder")))
                }
                for round in 0..<40 {
                    let made = "\(name) \(round + 1)"
                    try #require(eventually(.seconds(5)) { (try? contents(first("current \(name)/f"))) == Array("\(round)".utf8) })
                    try check(mkdir(second(made), 0o755))
                    try writeFile(second(made + "/f"), Array("\(round + 1)".utf8), sync: true)
                    if name == "link" {
                        try check(symlink(made, second("next")))
                        try check(rename(second("next"), second("current link")))
                    } else {
                        try exchange(second("current folder"), second(made))
                    }
                    let path = first("current \(name)/f")
                    let readers = (0..<3).map { _ in
                        let made = Made()
                        onThread {
                            do {
                                let found = try contents(path)
                                if found != Array("\(round + 1)".utf8) { made.fail(String(decoding: found, as: UTF8.self)) }
                            } catch {
                                made.fail("\(error)")
                            }
                            made.end()
                        }
                        return made
                    }
                    for reader in readers { try #require(reader.wait().failures == [], "\(name), round \(round)") }
                }
            }
        }
    }

    @Test("what one appends is whole, whatever another appends")
    func appends() throws {
        try onTwoMounts { first, second in
            let ends = [first, second].enumerated().map { number, host in
                let made = Made()
                let path = host("log")
                onThread {
                    let line = [UInt8](repeating: UInt8(0x41 + number), count: 3000) + [0x0a]
                    for _ in 0..<150 {
                        let file = open(path, O_WRONLY | O_APPEND | O_CREAT, 0o644)
                        if file < 0 || write(file, line, line.count) != line.count { made.fail("append: \(errno)") }
                        if close(file) != 0 { made.fail("close: \(errno)") }
                    }
                    made.end()
                }
                return made
            }
            for end in ends { try #require(end.wait().failures.isEmpty) }
            let lines = try contents(second("log")).split(separator: 0x0a)
            #expect(lines.count == 300)
            #expect(lines.allSatisfy { line in line.count == 3000 && line.allSatisfy { $0 == line.first } })
        }
    }

    /// The kernel takes the answer to a change of attributes as it is, and the time in it as that of the pages it has.
    @Test("what another rewrites in place reaches whoever has the file open, also where its mode is changed in between")
    func openMeanwhile() throws {
        try onTwoMounts { first, second in
            try writeFile(first("file"), randomBytes(10_000, seed: 0), sync: true)
            try withFile(second("file"), O_RDONLY) { reader in
                for round in 1..<20 {
                    _ = try read(reader, at: 0, upTo: 10_000)
                    let bytes = randomBytes(10_000, seed: UInt64(round))
                    try withFile(first("file"), O_WRONLY) { try writeAll($0, bytes[...]) }
                    // By then this machine has heard of it, and the kernel has not asked what it is.
                    usleep(100_000)
                    try check(fchmod(reader, round % 2 == 0 ? 0o644 : 0o600))
                    try #require(
                        eventually(.seconds(2)) { (try? read(reader, at: 0, upTo: 10_000)) == bytes }, "round \(round)")
                }
            }
        }
    }

    @Test("put, get, ls and rm beside a mount: what was closed is there, what is gone is gone, and the mount goes on")
    func transfers() throws {
        try onTwoMounts { first, second in
            try second.unmount()
            for round in 0..<5 {
                let bytes = randomBytes(10_000 + round, seed: UInt64(round))
                try writeFile(first("file"), bytes)
                let got = try second.lanfs("get", "-q", "-f", "file", second.local("file"))
                try #require(got.status == 0, "\(got.errors)")
                try #require(try contents(second.local("file")) == bytes)
                let put = try second.lanfs("put", "-q", "-f", second.local("file"), "copy")
                try #require(put.status == 0, "\(put.errors)")
                try #require(try contents(first("copy")) == bytes)
                try check(unlink(first("copy")))
                // An unlink is no close: it is saved by the next one, or within a second.
                try writeFile(first("mark"), [1])
                try #require(try second.lanfs("ls", "copy").status != 0)
                let removed = try second.lanfs("rm", "file")
                try #require(removed.status == 0, "\(removed.errors)")
                try #require(eventually(.seconds(5)) { access(first("file"), F_OK) != 0 })
            }
        }
    }

    @Test("two that create files in turns hand the lease to each other at once")
    func turns() throws {
        // A hundred turns each: where the lease changes hands once a second it takes longer than the test may.
        try onTwoMounts(limit: .seconds(60)) { first, second in
            for number in 0..<100 {
                try writeFile(first("a\(number)"), [UInt8(number)])
                try writeFile(second("b\(number)"), [UInt8(number)])
            }
            try first.unmount()
            try second.remount()
            for number in 0..<100 {
                try #require(try contents(second("a\(number)")) == [UInt8(number)])
                try #require(try contents(second("b\(number)")) == [UInt8(number)])
            }
        }
    }

    @Test("of two that make the same name only one succeeds, a thousand times over")
    func races() throws {
        try onTwoMounts { first, second in
            let results = [first, second].map { host in
                let made = Made()
                let folder = host.mountPoint
                onThread {
                    for number in 0..<500 {
                        let hasDirectory = mkdir(folder + "/directory \(number)", 0o755) == 0
                        if !hasDirectory, errno != EEXIST { made.fail("mkdir: \(errno)") }
                        let file = open(folder + "/file \(number)", O_CREAT | O_EXCL | O_WRONLY, 0o644)
                        if file < 0, errno != EEXIST { made.fail("open: \(errno)") }
                        if file >= 0 { close(file) }
                        made.note(hasDirectory, file >= 0)
                    }
                    made.end()
                }
                return made
            }
            let outcomes = results.map { $0.wait() }
            for outcome in outcomes { try #require(outcome.failures.isEmpty, "\(outcome.failures.prefix(3))") }
            for (one, other) in zip(outcomes[0].made, outcomes[1].made) { try #require(one != other) }
            try #require(outcomes[0].made.count == 1000)
        }
    }

    /// L6. The pause may come after the commit of what was written, and then there is no conflict: it is tried again.
    @Test("who stalls with unsaved work, and is overtaken, loses nothing: it is in place, or beside the winner and listed")
    func overtaken() throws {
        try onTwoMounts(limit: .seconds(300)) { first, second in
            var conflicts = 0
            for round in 0..<5 where conflicts == 0 {
                let names = ["both", "made", "deleted", "mine"].map { "\($0)-\(round)" }
                let (both, made, deleted, mine) = (names[0], names[1], names[2], names[3])
                for name in [both, deleted, mine] { try writeFile(first(name), [0], sync: true) }
                try #require(eventually(.seconds(10)) { access(second(mine), F_OK) == 0 })
                // The last commit is over, and the next a second away.
                try writeFile(first("pace"), [UInt8(round)], sync: true)

                var open: [Int32] = []
                for name in [both, made, deleted, mine] {
                    let file = Glibc.open(first(name), O_WRONLY | O_CREAT, 0o644)
                    try check(file)
                    open.append(file)
                    let bytes = Array("first \(name)".utf8)
                    #expect(write(file, bytes, bytes.count) == bytes.count)
                }
                let process = try #require(first.mount?.process)
                try check(kill(process, SIGSTOP))
                do {
                    defer { kill(process, SIGCONT) }
                    // The lease has to run out.
                    try writeFile(second(both), Array("second \(both)".utf8), sync: true)
                    try writeFile(second(made), Array("second \(made)".utf8), sync: true)
                    try check(unlink(second(deleted)))
                    try writeFile(second("pace"), [], sync: true)
                }
                try writeFile(first("settled"), [], sync: true)
                let outcomes = open.map { fsync($0) == 0 ? 0 : errno }
                for file in open { close(file) }

                #expect(try contents(second(mine)) == Array("first \(mine)".utf8))
                let list = try second.lanfs("ls").text.split(separator: "\n").map(String.init)
                let copies = list.filter { $0.contains("(conflict ") }
                conflicts = copies.count
                guard conflicts > 0 else { continue }
                // Who asks is told where the file is not the one that has the data: what was made here only has another name.
                #expect(outcomes == [ESTALE, 0, ESTALE, 0])
                #expect(try contents(second(both)) == Array("second \(both)".utf8))
                #expect(try contents(second(made)) == Array("second \(made)".utf8))
                for name in [both, made, deleted] {
                    let copy = try #require(copies.first { $0.hasPrefix(name + " (conflict ") }, "\(copies)")
                    #expect(try contents(second(copy)) == Array("first \(name)".utf8))
                    #expect(try contents(first(copy)) == Array("first \(name)".utf8))
                }
                #expect(try copies.allSatisfy { try second.lanfs("status").text.contains("/" + $0) })
                for copy in copies { try check(unlink(second(copy))) }
                #expect(try !second.lanfs("status").text.contains("(conflict "))
                // And it goes on.
                try writeFile(first("after"), [1], sync: true)
                #expect(try contents(second("after")) == [1])
            }
            #expect(conflicts == 3)
        }
    }

    /// L6, with the session at its end: what it set aside is done again by the next one.
    @Test("who is switched off with unsaved work, and comes back when others have changed the volume, loses nothing either")
    func overtakenWhileAway() throws {
        try onTwoMounts(limit: .seconds(200)) { first, second in
            for name in ["both", "deleted", "mine"] { try writeFile(second(name), [0], sync: true) }
            try #require(try first.unmount() == 0)
            try writeFile(second("pace"), [1], sync: true)
            try first.killServer()
            try #require(eventually(.seconds(20)) { second.mountLog.contains("is away") })
            let large = randomBytes(300_000, seed: 3)
            for name in ["both", "made", "deleted", "mine"] { try writeFile(second(name), Array("second \(name)".utf8)) }
            try writeFile(second("large"), large)
            try check(rename(second("large"), second("renamed")))
            _ = try second.unmount()
            try #require(second.mountLog.contains("could not be saved"))

            try first.startServer()
            try first.startMount()
            try writeFile(first("both"), Array("first both".utf8), sync: true)
            try writeFile(first("made"), Array("first made".utf8), sync: true)
            try check(unlink(first("deleted")))
            try writeFile(first("pace"), [2], sync: true)

            try second.startMount()
            #expect(try contents(second("both")) == Array("first both".utf8))
            #expect(try contents(second("made")) == Array("first made".utf8))
            #expect(try contents(second("mine")) == Array("second mine".utf8))
            #expect(try contents(first("renamed")) == large)
            let list = try first.lanfs("ls").text.split(separator: "\n").map(String.init)
            let copies = list.filter { $0.contains("(conflict ") }
            for name in ["both", "made", "deleted"] {
                let copy = try #require(copies.first { $0.hasPrefix(name + " (conflict ") }, "\(list)")
                #expect(try contents(first(copy)) == Array("second \(name)".utf8))
            }
            #expect(copies.count == 3)
            #expect(try copies.allSatisfy { try first.lanfs("status").text.contains("/" + $0) })
            // Once.
            try second.remount()
            #expect(try first.lanfs("ls").text.split(separator: "\n").map(String.init) == list)
        }
    }
}

/// What one of two racers has made.
private final class Made: Sendable {
    struct Outcome {
        var made: [Bool] = []
        var failures: [String] = []
        var hasEnded = false
    }

    private let outcome = Mutex(Outcome())

    func note(_ made: Bool...) { outcome.withLock { $0.made += made } }
    func fail(_ text: String) { outcome.withLock { $0.failures.append(text) } }
    func end() { outcome.withLock { $0.hasEnded = true } }

    func wait() -> Outcome {
        _ = eventually(.seconds(100)) { outcome.withLock { $0.hasEnded } }
        return outcome.withLock { $0 }
    }
}
