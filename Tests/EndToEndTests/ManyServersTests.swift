import Glibc
import Testing

@Suite("A mount on several servers", .serialized, .enabled(if: Machine.canMount))
struct ManyServersTests {
    @Test("servers are taken in; one that hangs and one that dies cost no data and little time")
    func loseServers() throws {
        try onHost(limit: .seconds(180)) { host in
            let first = randomBytes(3_000_000, seed: 1)
            try writeFile(host("alone"), first, sync: true)
            let members = [try host.startMember(1), try host.startMember(2), try host.startMember(3)]
            // The mount holds the lease as long as it is used, and looks around every half a minute.
            let joined = eventually(.seconds(60), every: 200_000) {
                try? writeFile(host("tick"), [1], sync: true)
                return host.mountLog.contains("kept on 4 servers")
            }
            try #require(joined)

            let bytes = (0..<12).map { randomBytes(2_000_000 + $0, seed: UInt64(10 + $0)) }
            for number in 0..<4 { try writeFile(host("\(number)"), bytes[number], sync: true) }

            members[0].signal(SIGSTOP)
            let start = ContinuousClock.now
            for number in 4..<8 { try writeFile(host("\(number)"), bytes[number], sync: true) }
            let time = ContinuousClock.now - start
            members[0].signal(SIGCONT)
            try #require(time < .seconds(12), "writing took \(time) with one server that hangs")

            try members[1].killAndWait()
            for number in 8..<12 { try writeFile(host("\(number)"), bytes[number], sync: true) }
            try host.remount()
            try #require(try contents(host("alone")) == first)
            for number in 0..<12 { try #require(try contents(host("\(number)")) == bytes[number]) }

            try host.startMember(2)
            try writeFile(host("late"), first, sync: true)
            try host.remount()
            try #require(try contents(host("late")) == first)

            // The third leaves for good, while the mount is there, and nobody misses it.
            let third = try #require(host.address(ofMember: 3))
            let refused = try host.lanfs("drain", "127.0.0.2")
            try #require(refused.status == 4, "\(refused.errors)")
            try #require(refused.errors.contains(third))
            let drained = try host.lanfs("drain", "-q", "--json", third)
            try #require(drained.status == 0, "\(drained.errors)")
            try #require(drained.errors.isEmpty && drained.text.contains("\"state\":\"gone\""))
            try members[2].killAndWait()
            try writeFile(host("without"), first, sync: true)
            try host.remount()
            for number in 0..<12 { try #require(try contents(host("\(number)")) == bytes[number]) }
            try #require(try contents(host("without")) == first)
        }
    }
}
