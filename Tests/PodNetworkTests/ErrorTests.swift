import PodNetwork
import Testing

@Suite struct ErrorTests {
  @Test func exhaustionNamesItsFigures() {
    let error = NetworkError.addressExhausted(cidrs: "10.0.0.0/30", used: 1, quarantined: 0)
    #expect("\(error)" == "no free pod address in 10.0.0.0/30: 1 in use, 0 resting after their pods ended")
  }
}
