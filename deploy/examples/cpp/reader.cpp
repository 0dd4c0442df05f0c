// Reads a stream with libzmq and the code that protoc makes of perception.proto.
//
//   ./reader tcp://127.0.0.1:5555
#include <zmq.h>

#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <set>
#include <string>

#include "perception.pb.h"

namespace pb = edge::perception::v1;

namespace {

[[noreturn]] void fail(const char* what) {
    std::fprintf(stderr, "%s: %s\n", what, zmq_strerror(zmq_errno()));
    std::exit(3);
}

// One part of a message; `more` tells whether another part follows.
std::string receive_part(void* socket, bool& more) {
    zmq_msg_t part;
    zmq_msg_init(&part);
    if (zmq_msg_recv(&part, socket, 0) < 0) fail("receive");
    std::string bytes(static_cast<const char*>(zmq_msg_data(&part)), zmq_msg_size(&part));
    more = zmq_msg_more(&part) != 0;
    zmq_msg_close(&part);
    return bytes;
}

void print_frame(const pb::FrameResult& frame) {
    std::printf("%s frame %" PRIu64 " %.3f s: ", frame.sensor().c_str(),
                static_cast<std::uint64_t>(frame.frame_sequence()), static_cast<double>(frame.stamp_ns()) / 1e9);
    if (frame.status() != pb::OK) {
        std::printf("%s %s\n", pb::Status_Name(frame.status()).c_str(), frame.status_reason().c_str());
    } else {
        std::printf("%d boxes", frame.detections_size());
        const char* separator = " ";
        for (const pb::Detection& box : frame.detections()) {
            std::printf("%s%s %.2f", separator, box.class_name().c_str(), static_cast<double>(box.score()));
            separator = ", ";
        }
        std::printf("\n");
    }
    std::fflush(stdout);
}

}  // namespace

int main(int argc, char** argv) {
    const char* endpoint = argc > 1 ? argv[1] : "tcp://127.0.0.1:5555";
    void* context = zmq_ctx_new();
    void* socket = zmq_socket(context, ZMQ_SUB);
    const std::string prefix = "detections/";  // detections/front/ for one sensor
    if (zmq_setsockopt(socket, ZMQ_SUBSCRIBE, prefix.data(), prefix.size()) != 0) fail("subscribe");
    if (zmq_connect(socket, endpoint) != 0) fail(endpoint);
    std::fprintf(stderr, "reading %s\n", endpoint);

    std::map<std::string, std::uint64_t> expected;  // the next sequence of each topic
    std::set<std::string> open_topics;
    std::string session;
    std::uint64_t received = 0, lost = 0;
    for (;;) {
        bool more = false;
        const std::string topic = receive_part(socket, more);
        const std::string payload = more ? receive_part(socket, more) : std::string();
        while (more) receive_part(socket, more);  // no message of ours has more than two parts
        pb::FrameResult frame;
        if (!frame.ParseFromString(payload) || frame.session().empty()) {
            std::fprintf(stderr, "passed over what is no message of edge-perception\n");
            continue;
        }

        if (frame.session() != session) {  // the first message, or the publisher has started again
            for (auto& [known, next] : expected) next = 0;
            session = frame.session();
            open_topics.clear();
        }
        const auto next = expected.find(topic);
        if (next != expected.end()) lost += frame.sequence() - next->second;
        expected[topic] = frame.sequence() + 1;

        if (frame.status() == pb::END_OF_STREAM) {
            open_topics.erase(topic);
            if (open_topics.empty()) break;  // every sensor has come to its end
            continue;
        }
        open_topics.insert(topic);
        ++received;
        print_frame(frame);
    }

    std::fprintf(stderr, "received %" PRIu64 ", lost %" PRIu64 "\n", received, lost);
    zmq_close(socket);
    zmq_ctx_term(context);
    return lost == 0 ? 0 : 1;
}
