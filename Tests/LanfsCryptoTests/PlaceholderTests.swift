import Testing
@testable import LanfsCrypto
@Test func placeholder() { #expect(1 + 1 == 2) }
