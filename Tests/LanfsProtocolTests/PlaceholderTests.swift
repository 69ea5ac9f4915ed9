import Testing
@testable import LanfsProtocol
@Test func placeholder() { #expect(BlockID.zero.bytes.count == 32) }
