"""The pages, one file each: what Streamlit shows of the parts beside them."""
