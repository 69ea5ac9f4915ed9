import Glibc
import Testing

@Suite("Two machines at work in one volume", .serialized, .enabled(if: Machine.canMount))
struct TogetherTests {
    /// Runs a shell script on each mount at once, with the host's number in `$host`, its folder in the mount in `$mnt` and one of
    /// its own in `$own`.
    private func run(_ script: String, on hosts: [Host], limit: Duration = .seconds(150)) throws {
        let children = try hosts.enumerated().map { number, host in
            let head = "set -eu\nhost=\(number) mnt=\(host.mountPoint) own=\(host.local(""))\n"
            return try host.commands.start(["bash", "-c", head + script], log: "script")
        }
        for (number, child) in children.enumerated() {
            let status = try #require(child.wait(limit), "script \(number) takes too long: \(readText(child.errors))")
            try #require(status == 0, "script \(number): \(readText(child.errors).suffix(2000))")
        }
    }

    @Test("what both append to one file is all there, a line each")
    func append() throws {
        try onTwoMounts(limit: .seconds(180)) { first, second in
            try run("for i in $(seq 300); do echo \"$host $i\" >> \"$mnt/log\"; done", on: [first, second])
            // And through descriptors that stay open.
            try run("exec 3>> \"$mnt/log\"; for i in $(seq 301 600); do echo \"$host $i\" >&3; done", on: [first, second])
            for host in [first, second] {
                let lines = String(decoding: try contents(host("log")), as: UTF8.self).split(separator: "\n")
                #expect(lines.count == 1200)
                for number in 0...1 {
                    #expect(lines.filter { $0.hasPrefix("\(number) ") } == (1...600).map { "\(number) \($0)" })
                }
            }
        }
    }

    @Test("tail -f on one shows what is appended on the other")
    func follow() throws {
        try onTwoMounts { first, second in
            try writeFile(first("log"), Array("one\n".utf8), sync: true)
            let tail = try second.commands.start(["tail", "-f", "-n", "+1", second("log")], log: "tail")
            try #require(eventually(.seconds(10)) { readText(tail.output) == "one\n" })
            for round in 0..<5 {
                let before = readText(tail.output)
                try first.tool("sh", "-c", "echo 'line \(round)' >> \(first("log"))")
                try #require(eventually(.seconds(10)) { readText(tail.output) == before + "line \(round)\n" }, "round \(round)")
            }
            try tail.killAndWait()
        }
    }

    @Test("a file that is open stays readable when the other machine removes it, or puts another in its place")
    func removed() throws {
        try onTwoMounts { first, second in
            for (name, size) in [("small", 1000), ("packed", 9000), ("large", 3_000_000)] {
                let bytes = randomBytes(size, seed: UInt64(size))
                try writeFile(first(name), bytes, sync: true)
                try writeFile(first(name + " 2"), bytes, sync: true)
                try second.remount()
                try withFile(second(name), O_RDONLY) { removed in
                    try withFile(second(name + " 2"), O_RDONLY) { replaced in
                        try check(unlink(first(name)))
                        try writeFile(first("other"), [1], sync: true)
                        try check(rename(first("other"), first(name + " 2")))
                        for number in 0..<5 { try writeFile(first("later \(number)"), randomBytes(50_000, seed: 1), sync: true) }
                        try #require(eventually(.seconds(10)) { !exists(second(name)) && exists(second("later 4")) })
                        #expect(try contents(second(name + " 2")) == [1])
                        for file in [removed, replaced] {
                            var status = stat()
                            try check(fstat(file, &status))
                            #expect(Int(status.st_size) == size)
                            #expect(try read(file, at: 0, upTo: size) == bytes)
                        }
                    }
                }
            }
        }
    }

    @Test("git commits in one repository add up", .enabled(if: Machine.has("git")))
    func git() throws {
        try onTwoMounts(limit: .seconds(300)) { first, second in
            try first.tool("git", "init", "-q", first("repository"))
            let script = """
                cd "$mnt/repository"
                for i in $(seq 25); do
                    mkdir -p "$host"; echo "$i" > "$host/$i"
                    # Another commit is under way where there is a lock.
                    until git add "$host/$i" 2>"$own/git"; do grep -q 'index.lock' "$own/git" || { cat "$own/git" >&2; exit 1; }; sleep 0.02; done
                    until git commit -q -m "$host $i" -- "$host/$i" 2>"$own/git"; do
                        grep -qE 'lock|cannot lock|reference already' "$own/git" || { cat "$own/git" >&2; exit 1; }
                        sleep 0.02
                    done
                done
                """
            try run(script, on: [first, second], limit: .seconds(250))
            for host in [first, second] {
                try host.tool("git", "-C", host("repository"), "fsck", "--strict")
                #expect(try host.tool("git", "-C", host("repository"), "rev-list", "--count", "HEAD") == "50\n")
                #expect(try host.tool("git", "-C", host("repository"), "status", "--porcelain") == "")
            }
        }
    }

    @Test("mail that both deliver, and either takes, comes once")
    func maildir() throws {
        try onTwoMounts(limit: .seconds(180)) { first, second in
            for folder in ["tmp", "new", "cur"] { try check(mkdir(first(folder), 0o755)) }
            try writeFile(first("mark"), [1], sync: true)
            let script = """
                cd "$mnt"
                taken=0
                for i in $(seq 60); do
                    echo "message $host $i" > "tmp/$host.$i"; mv "tmp/$host.$i" "new/$host.$i"
                    for mail in new/*; do
                        # Only one of two succeeds.
                        if mv "$mail" "cur/${mail#new/}:$host" 2>/dev/null; then taken=$((taken + 1)); fi
                    done
                done
                echo "$taken" > "taken.$host"
                """
            try run(script, on: [first, second])
            let names = try first.tool("ls", first("cur")).split(separator: "\n")
            let mails = names.compactMap { $0.split(separator: ":").first }
            #expect(mails.count == 120 && Set(mails).count == 120)
            let taken = try ["taken.0", "taken.1"].map { Int(String(decoding: try contents(second($0)), as: UTF8.self).dropLast()) ?? 0 }
            #expect(taken.reduce(0, +) == 120)
            #expect(try first.tool("ls", first("new")) == "")
        }
    }
}
